"""The unit of work: all or nothing, one writer, readers beside it, group commit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import Lease, Task
from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.storage.database.unit import SqlStore


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


async def open_store(address: Path | str) -> SqlStore:
    store = await SqlStore.open(address, clock=now, ids=ulids(now))
    await store.create_schema()
    return store


@pytest.fixture
async def store(database_address: Path | str) -> AsyncIterator[SqlStore]:
    made = await open_store(database_address)
    yield made
    await made.close()


async def actions(store: SqlStore) -> list[str]:
    async with store.snapshot() as tx:
        return [entry.action for entry in await tx.audit.list(limit=1_000)][::-1]


class WrongError(Exception):
    pass


async def test_an_error_undoes_the_whole_unit(store: SqlStore) -> None:
    async def unit() -> None:
        async with store.transaction() as tx:
            await tx.audit.add("one", "x")
            raise WrongError

    with pytest.raises(WrongError):
        await unit()
    assert await actions(store) == []


async def test_members_of_a_group_fail_alone(store: SqlStore) -> None:
    async def unit(number: int) -> None:
        async with store.transaction() as tx:
            await tx.audit.add(f"{number:02}", "x")
            await tx.audit.add(f"{number:02}", "y")
            if number % 3 == 1:
                raise WrongError

    results = await asyncio.gather(*(unit(number) for number in range(20)), return_exceptions=True)
    assert [isinstance(result, WrongError) for result in results] == [number % 3 == 1 for number in range(20)]
    assert await actions(store) == [f"{number:02}" for number in range(20) if number % 3 != 1 for _ in range(2)]


async def test_actions_run_after_the_commit_and_only_then(store: SqlStore) -> None:
    ran: list[str] = []

    async def unit() -> None:
        async with store.transaction() as tx:
            await tx.audit.add("one", "x")
            tx.on_commit(lambda: ran.append("never"))
            raise WrongError

    with pytest.raises(WrongError):
        await unit()
    async with store.transaction() as tx:
        await tx.audit.add("two", "x")
        tx.on_commit(lambda: ran.append("two"))
        assert ran == []
    assert ran == ["two"]


async def test_a_reader_sees_one_moment_beside_the_writer(store: SqlStore) -> None:
    async with store.snapshot() as before:
        assert await before.audit.list() == []
        async with store.transaction() as tx:
            await tx.audit.add("one", "x")
        assert await before.audit.list() == []
    assert await actions(store) == ["one"]


async def test_a_unit_inside_another_is_refused_at_once(store: SqlStore) -> None:
    async with store.transaction():
        with pytest.raises(RuntimeError, match="inside another"):
            async with store.transaction():
                pass


async def test_a_cancelled_unit_leaves_nothing_and_blocks_nobody(store: SqlStore) -> None:
    inside = asyncio.Event()

    async def unit() -> None:
        async with store.transaction() as tx:
            await tx.audit.add("cancelled", "x")
            inside.set()
            await asyncio.Event().wait()

    doomed = asyncio.create_task(unit())
    queued = asyncio.create_task(unit())
    await inside.wait()
    queued.cancel()
    doomed.cancel()
    await asyncio.wait([doomed, queued])
    async with store.transaction() as tx:
        await tx.audit.add("after", "x")
    assert await actions(store) == ["after"]


async def test_units_cancelled_at_any_moment_are_whole_or_absent(store: SqlStore) -> None:
    async def unit(number: int) -> None:
        async with store.transaction() as tx:
            await tx.audit.add(f"{number:03}", "x")
            await tx.audit.add(f"{number:03}", "y")

    tasks = [asyncio.create_task(unit(number)) for number in range(60)]
    for number, task in enumerate(tasks):
        if number % 2:
            await asyncio.sleep(0)
            task.cancel()
    await asyncio.wait(tasks)
    found = await actions(store)
    for number, task in enumerate(tasks):
        assert found.count(f"{number:03}") in ({0, 2} if task.cancelled() else {2})


async def test_what_was_committed_is_there_after_a_restart(database_address: Path | str) -> None:
    store = await open_store(database_address)
    async with store.transaction() as tx:
        await tx.audit.add("kept", "x")
    await store.close()
    again = await open_store(database_address)
    assert await actions(again) == ["kept"]
    await again.close()


async def test_a_closed_store_refuses(database_address: Path | str) -> None:
    store = await open_store(database_address)
    await store.close()
    with pytest.raises(UnavailableError):
        async with store.transaction():
            pass


async def test_a_reader_cannot_write(store: SqlStore) -> None:
    with pytest.raises(Exception, match=r"read-?only"):
        async with store.snapshot() as tx:
            await tx.audit.add("one", "x")


async def test_a_swap_leaves_alone_what_it_does_not_change(store: SqlStore) -> None:
    lease = Lease(owner="w" * 26, epoch=3, expires_at=now())
    task = Task("t" * 26, "nothing", "p" * 26, "t", TaskState.RUNNING, now(), now(), lease=lease)
    later = now() + timedelta(minutes=1)
    async with store.transaction() as tx:
        await tx.tasks.insert(task, depends_on=())
    async with store.transaction() as tx:
        await tx.tasks.prolong({task.id: 3}, until=later)
    async with store.transaction() as tx:
        assert await tx.tasks.swap(task, replace(task, progress=0.5))
        assert not await tx.tasks.swap(task, replace(task, progress=0.7))
    async with store.snapshot() as tx:
        kept = await tx.tasks.get(task.id)
        assert await tx.tasks.unchanged(kept)
        assert not await tx.tasks.unchanged(task)
    assert kept == replace(task, progress=0.5, revision=task.revision + 1, lease=replace(lease, expires_at=later))
