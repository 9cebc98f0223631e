"""The queue of units of work goes on whatever fails in it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from lodeworks_controller.storage.database.group_commit import GroupCommit, GroupUnit


class Writer:
    """A connection that fails where it is told to, once."""

    def __init__(self) -> None:
        self.fails_in: set[str] = set()
        self.commits = 0

    def _may_fail(self, name: str) -> None:
        if name in self.fails_in:
            self.fails_in.discard(name)
            raise OSError(name)

    def begin(self, *, heartbeat: bool) -> None:
        self._may_fail("begin")

    async def admit(self, unit: GroupUnit) -> None:
        self._may_fail("admit")

    async def undo(self, unit: GroupUnit) -> None:
        self._may_fail("undo")

    async def commit(self) -> None:
        self._may_fail("commit")
        self.commits += 1

    async def give_up(self) -> None:
        self._may_fail("give_up")


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
async def queue(writer: Writer) -> AsyncIterator[GroupCommit[GroupUnit]]:
    made: GroupCommit[GroupUnit] = GroupCommit(writer, group_s=0.01)
    made.start()
    yield made
    await made.stop()


async def work(queue: GroupCommit[GroupUnit], *, tells: bool = False) -> None:
    async with asyncio.timeout(10), queue.share(GroupUnit()) as unit:
        if tells:
            unit.on_commit(lambda: 1 / 0)


@pytest.mark.parametrize("places", [{"begin"}, {"admit"}, {"commit"}, {"commit", "give_up"}, {"begin", "give_up"}])
async def test_a_failure_reaches_who_works_and_nobody_after(writer, queue, places):
    writer.fails_in = set(places)
    with pytest.raises(OSError, match=r"begin|admit|commit"):
        await work(queue)
    assert not writer.fails_in
    await work(queue)
    assert writer.commits == 1


async def test_what_is_durable_stays_so_whoever_fails_to_hear_of_it(writer, queue, caplog):
    queue.on_group = lambda *_: 1 / 0
    await work(queue, tells=True)
    assert writer.commits == 1
    assert caplog.text.count("ZeroDivisionError") >= 2
    await work(queue)
    assert writer.commits == 2
