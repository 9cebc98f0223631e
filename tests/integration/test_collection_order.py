"""No order of uploads, references and collection takes what is used; a broken order is found.

Uploads, releases and two collectors run as coroutines that stop before each step they take in the database or in the
store; hypothesis chooses who takes the next step, and how much time passes in between. Whatever it chooses: what a
scope refers to is in the store. The same machine must find fault with a collector that removes before it claims, one
that has no grace, and with uploads that do not look whether the collector has marked what they keep.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lodeworks_controller.errors import UnavailableError
from lodeworks_controller.service.blob_store import Blob
from lodeworks_controller.service.collection import Collection, CollectionTerms
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.content_scope import Scope
from lodeworks_controller.service.sparing import SparingBlobs
from lodeworks_controller.storage.database.unit import SqlStore
from simulated_database import SimulatedDisk

CONTENTS = (b"one", b"two")
DIGESTS = tuple(hashlib.sha256(data).hexdigest() for data in CONTENTS)
SCOPES = ("project:a", "project:b")
MOST_AT_ONCE = 4
GRACE = timedelta(hours=24)
TERMS = CollectionTerms(grace=GRACE, sweep=timedelta(minutes=1))

Step = Callable[[], Awaitable[None]]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upload"), st.sampled_from(SCOPES), st.sampled_from((0, 1))),
        st.tuples(st.just("release"), st.sampled_from(SCOPES), st.sampled_from((0, 1))),
        st.tuples(st.just("collect"), st.just(""), st.just(0)),
        st.tuples(st.just("wait"), st.just(""), st.just(0)),
        st.tuples(st.just("go"), st.just(""), st.integers(0, 3)),
        st.tuples(st.just("go"), st.just(""), st.integers(0, 3)),
        st.tuples(st.just("go"), st.just(""), st.integers(0, 3)),
    ),
    max_size=60,
)


class Turns:
    """Lets one coroutine at a time take one step."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.running: dict[asyncio.Task[None], str] = {}

    async def turn(self) -> None:
        task = asyncio.current_task()
        if task not in self.running:
            return  # the test itself asks
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((self.running[task], future))
        await future

    def begin(self, name: str, work: Awaitable[None]) -> None:
        async def run() -> None:
            await self.turn()
            await work

        task = asyncio.ensure_future(run())
        self.running[task] = name

    async def settle(self) -> None:
        """Waits until each coroutine waits for its turn or is over."""
        while True:
            for task in [task for task in self.running if task.done()]:
                del self.running[task]
                task.result()
            if len(self.waiting) >= len(self.running):
                return
            await asyncio.sleep(0)

    async def go(self, who: int | str) -> None:
        """Lets one take its step: by place, or the first of a name, if there is one."""
        await self.settle()
        places = [place for place, (name, _) in enumerate(self.waiting) if isinstance(who, int) or name == who]
        if places:
            _, future = self.waiting.pop(places[who % len(places)] if isinstance(who, int) else places[0])
            future.set_result(None)
            await self.settle()


class Kept:
    """A store in memory, each call a step."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.there: dict[str, bytes] = {}

    async def find_missing(self, digests: Any) -> set[str]:
        return set(digests) - set(self.there)

    async def put_many(self, contents: Sequence[bytes], *, digests: Sequence[str]) -> list[Blob]:
        await self._turns.turn()
        for digest, data in zip(digests, contents, strict=True):
            self.there.setdefault(digest, data)
        return [Blob(digest, len(data)) for digest, data in zip(digests, contents, strict=True)]

    async def contents(self):
        await self._turns.turn()
        yield [Blob(digest, len(data)) for digest, data in self.there.items()]

    async def delete(self, digests: Any) -> None:
        await self._turns.turn()
        for digest in digests:
            self.there.pop(digest, None)

    async def compact(self) -> None:
        pass

    async def prune_writes(self, *, before: datetime) -> int:
        return 0


class Stepping:
    """A Store whose units of work are one step each."""

    def __init__(self, store: SqlStore, turns: Turns) -> None:
        self._store, self._turns = store, turns

    @asynccontextmanager
    async def transaction(self):
        await self._turns.turn()
        async with self._store.transaction() as tx:
            yield tx

    @asynccontextmanager
    async def snapshot(self):
        await self._turns.turn()
        async with self._store.snapshot() as tx:
            yield tx


class RemovesFirst(Collection):
    """Broken: removes what it saw unreferenced, and claims afterwards."""

    async def sweep(self):
        async with self._store.snapshot() as tx:
            some, _, _ = await tx.collection.leaving(marked_before=tx.now() - GRACE, limit=10)
        if some:
            await self._blobs.delete([blob.digest for blob in some])
            claim = await self.claim()
            async with self._store.transaction() as tx:
                await tx.collection.swept([blob.digest for blob in some], claimed_until=claim.until)


class Graceless(Collection):
    """Broken: what it marks is gone in the same pass."""

    def __init__(self, store, blobs, **_):
        super().__init__(store, blobs, terms=CollectionTerms(grace=timedelta(seconds=-1)))


class Careless(SparingBlobs):
    """Broken: keeps what is there without a look at the collector's marks."""

    async def _spare(self, digests):
        pass


class Installation:
    """What the steps act on."""

    def __init__(self, store: SqlStore, *, collection: type[Collection], sparing: type[SparingBlobs]) -> None:
        self.turns = Turns()
        self.kept = Kept(self.turns)
        self.store = store
        stepping = Stepping(store, self.turns)
        self.content = ContentService(stepping, sparing(self.kept, stepping))
        self._new_collection = lambda: collection(stepping, self.kept, terms=TERMS)

    async def upload(self, scope: str, which: int) -> None:
        with suppress(UnavailableError):  # it is to be sent again
            await self.content.put(Scope((scope,), scope), [(DIGESTS[which], CONTENTS[which])])

    async def release(self, scope: str, which: int) -> None:
        await self.turns.turn()
        async with self.store.transaction() as tx:
            await tx.blobs.release(scope, [DIGESTS[which]])

    async def collect(self) -> None:
        await self._new_collection().run()  # each pass is another controller's

    async def check(self) -> None:
        async with self.store.snapshot() as tx:
            used = await tx.collection.referenced(after="", limit=10)
        lost = set(used) - set(self.kept.there)
        assert not lost, "content that is used was collected"


@contextmanager
def quick_sleep() -> Iterator[None]:
    """Waiting for a claim to end costs a step, no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lodeworks_controller.service.sparing._AGAIN_S", 0.0)
        patch.setattr("lodeworks_controller.service.sparing._TRIES", 5)
        patch.setattr("lodeworks_controller.service.collection._SLICES", 1)
        yield


async def play(steps: Any, *, collection: type[Collection], sparing: type[SparingBlobs]) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    numbers = count()
    with quick_sleep():
        disk = SimulatedDisk(cast("Any", asyncio.get_running_loop()), delay=lambda: 0.0)
        store = disk.open(None, clock=lambda: clock[0], ids=lambda: f"{next(numbers):026}")
        world = Installation(store, collection=collection, sparing=sparing)
        for what, scope, which in steps:
            if what == "wait":
                clock[0] += GRACE + timedelta(minutes=5)
            elif what == "go":
                await world.turns.go(which)
            elif len(world.turns.running) < MOST_AT_ONCE:
                work = world.collect() if what == "collect" else getattr(world, what)(scope, which)
                world.turns.begin(what, work)
                await world.turns.settle()
            await world.check()
        while world.turns.running:
            await world.turns.go(0)
            await world.check()


def play_all(schedules: Iterable[Any], *, collection: type[Collection], sparing: type[SparingBlobs]) -> None:
    async def all_of_them() -> None:
        for steps in schedules:
            await play(steps, collection=collection, sparing=sparing)

    asyncio.run(all_of_them())


QUICK = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.explicit],
)


@QUICK
@given(STEPS)
def test_what_is_used_stays(steps: Any) -> None:
    asyncio.run(play(steps, collection=Collection, sparing=SparingBlobs))


KEEPS_GARBAGE = [
    ("upload", "project:a", 0),
    *[("go", "", 0)] * 9,
    ("release", "project:a", 0),
    *[("go", "", 0)] * 3,
    ("collect", "", 0),
    *[("go", "", 0)] * 20,
    ("wait", "", 0),
]
"""One blob that nothing refers to, marked, its grace over."""


def every_meeting() -> Iterator[list[Any]]:
    """Every way in which the steps of an upload fall among those of a pass."""
    for before in range(12):
        for between in (0, 4, 8, 12):
            for many in (1, 2, 3, 4):
                yield [
                    *KEEPS_GARBAGE,
                    ("collect", "", 0),
                    *[("go", "", "collect")] * before,
                    ("upload", "project:b", 0),
                    *[("go", "", "upload")] * many,
                    *[("go", "", "collect")] * between,
                ]


def test_an_upload_and_a_pass_may_meet_anywhere() -> None:
    play_all(every_meeting(), collection=Collection, sparing=SparingBlobs)


@pytest.mark.parametrize(
    ("collection", "sparing"),
    [(RemovesFirst, SparingBlobs), (Graceless, SparingBlobs), (Collection, Careless)],
    ids=["removes before it claims", "no grace", "keeps what is marked"],
)
def test_a_broken_order_is_found(collection: type[Collection], sparing: type[SparingBlobs]) -> None:
    with pytest.raises(AssertionError, match="content that is used was collected"):
        play_all(every_meeting(), collection=collection, sparing=sparing)
