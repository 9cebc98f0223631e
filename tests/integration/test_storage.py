"""Storage by command of people: usage and collection through a real controller's services."""

import fcntl
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lodeworks_controller.domain.identity import InstallationRole, Principal
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.errors import PermissionDeniedError, UnavailableError
from lodeworks_controller.service.blob_store import BlobStore
from lodeworks_controller.service.collection import Collection, CollectionTerms
from lodeworks_controller.service.content import ContentService
from lodeworks_controller.service.content_scope import Scope, project_scope
from lodeworks_controller.service.identity import IdentityService
from lodeworks_controller.service.project_service import ProjectService
from lodeworks_controller.service.sparing import SparingBlobs
from lodeworks_controller.service.storage import StorageService
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.database.blob import blob_refs, blobs
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.trust.secrets import secrets_of
from lodeworks_controller.wiring.storage import is_locked
from sqlalchemy import BigInteger, literal, update

DATA = b"a picture"
DIGEST = hashlib.sha256(DATA).hexdigest()
TERMS = CollectionTerms()


class Hands:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class World:
    """A database and a store with a collector."""

    def __init__(self, store: SqlStore, kept: BlobStore, clock: Hands) -> None:
        self.store, self.kept, self.clock = store, kept, clock
        self.blobs = SparingBlobs(kept, store)
        self.content = ContentService(store, self.blobs)
        self.collection = Collection(store, kept, terms=TERMS)
        self.storage = StorageService(store, self.collection)
        self._moves_clock = True

    @classmethod
    def beside_a_running_clock(cls, store: SqlStore, kept: BlobStore, clock: Hands) -> "World":
        """PostgreSQL's clock is its own: to let time pass, what the database remembers is moved into the past."""
        world = cls(store, kept, clock)
        world._moves_clock = False
        return world

    async def advance(self, time: timedelta) -> None:
        self.clock.now += time
        if self._moves_clock:
            return
        micros = time // timedelta(microseconds=1)
        async with self.store.transaction() as tx:
            for table, column in ((blobs, "unreferenced_at"), (blobs, "sweep_until"), (blob_refs, "expires_at")):
                earlier = table.c[column].op("-")(literal(micros, BigInteger))
                await tx.blobs._connection.execute(update(table).values({column: earlier}))

    def scope(self, project_id: str) -> Scope:
        own = project_scope(project_id)
        return Scope(readable=(own,), writable=own, kept=timedelta(days=7))

    async def is_stored(self, digest: str = DIGEST) -> bool:
        return not await self.kept.find_missing([digest])

    async def passes(self, number: int = 1) -> int:
        """Makes passes, each a grace after the one before; returns how many blobs went."""
        gone = 0
        for _ in range(number):
            gone += (await self.collection.run()).blobs
            await self.advance(TERMS.grace + timedelta(minutes=1))
        return gone


@pytest.fixture
async def world(database_address: Path | str, tmp_path: Path) -> AsyncIterator[World]:
    clock = Hands()
    ids = ulids(clock)
    store = await SqlStore.open(database_address, clock=clock, ids=ids)
    await store.create_schema()
    kept = DiskBlobStore(tmp_path / "blobs", ids=ids)
    kept.open()
    make = World if isinstance(database_address, Path) else World.beside_a_running_clock
    yield make(store, kept, clock)
    await store.close()


@pytest.fixture
async def administrator(world: World) -> Principal:
    ids = ulids(world.clock)
    user, _ = await IdentityService(world.store, ids=ids, secrets=secrets_of(bytes(32), prefix="lode_")).bootstrap(
        "local"
    )
    return Principal(user.id, user.name, user.role)


async def test_a_blob_that_nothing_refers_to_goes_after_its_grace(world: World) -> None:
    await world.blobs.put_bytes(DATA)

    assert await world.passes(1) == 0
    assert await world.is_stored()
    assert await world.passes(1) == 1
    assert not await world.is_stored()


async def test_an_upload_stays_a_week_and_for_good_once_it_is_used(world: World) -> None:
    scope = world.scope("p")
    await world.content.put(scope, [(DIGEST, DATA)])
    other = b"never used"
    await world.content.put(scope, [(hashlib.sha256(other).hexdigest(), other)])
    async with world.store.transaction() as tx:
        await tx.blobs.reference(project_scope("p"), [DIGEST])

    assert await world.passes(5) == 0
    assert await world.passes(6) == 1
    assert await world.is_stored()
    assert not await world.is_stored(hashlib.sha256(other).hexdigest())


async def test_asking_for_an_upload_lets_it_stay_longer(world: World) -> None:
    scope = world.scope("p")
    await world.content.put(scope, [(DIGEST, DATA)])
    await world.advance(timedelta(days=6))

    assert await world.content.find_missing(scope, [DIGEST]) == []

    await world.advance(timedelta(days=3))
    assert await world.passes(2) == 0
    assert await world.is_stored()


async def test_a_lease_never_shortens_what_holds_for_good(world: World) -> None:
    async with world.store.transaction() as tx:
        await tx.blobs.reference("project:p", [DIGEST])
    await world.content.put(world.scope("p"), [(DIGEST, DATA)])

    await world.advance(timedelta(days=30))
    assert await world.passes(3) == 0
    assert await world.is_stored()


async def test_what_is_being_removed_can_be_stored_when_it_is_gone(world: World) -> None:
    await world.blobs.put_bytes(DATA)
    await world.passes(1)
    claimed = await world.collection.claim()
    assert [blob.digest for blob in claimed.blobs] == [DIGEST]

    with pytest.raises(UnavailableError) as refusal:
        async with world.store.transaction() as tx:
            await tx.blobs.reference("project:p", [DIGEST])
    assert refusal.value.reason == "BLOB_LEAVING"
    await world.collection.remove(claimed)
    await world.content.put(world.scope("p"), [(DIGEST, DATA)])

    assert await world.passes(2) == 0
    assert await world.is_stored()


async def test_a_dead_collector_s_claims_are_taken_over(world: World) -> None:
    await world.blobs.put_bytes(DATA)
    await world.passes(1)
    assert (await world.collection.claim()).blobs

    assert (await world.collection.sweep()).blobs == 0  # the claim still holds
    await world.advance(TERMS.sweep + timedelta(seconds=1))
    assert (await world.collection.sweep()).blobs == 1


async def test_a_collector_that_was_frozen_leaves_what_came_back_meanwhile(world: World) -> None:
    await world.blobs.put_bytes(DATA)
    await world.passes(1)
    frozen = await world.collection.claim()
    await world.advance(TERMS.sweep + timedelta(seconds=1))
    assert (await world.collection.sweep()).blobs == 1  # another's, which takes over
    await world.content.put(world.scope("p"), [(DIGEST, DATA)])

    assert (await world.collection.remove(frozen)).blobs == 0
    assert await world.is_stored()
    async with world.store.snapshot() as tx:
        assert await tx.collection.referenced(after="", limit=10) == [DIGEST]
        assert not await tx.collection.unknown([DIGEST])


async def test_an_old_unfinished_write_goes(world: World, tmp_path: Path) -> None:
    async with world.kept.begin_write(DIGEST, size_bytes=len(DATA), owner="project:p") as writing:
        await writing.append(0, DATA[:3])
    now = datetime.now(UTC)

    assert await world.kept.prune_writes(before=now - timedelta(hours=1)) == 0
    assert await world.kept.prune_writes(before=now + timedelta(hours=1)) == 1
    assert await world.kept.written_bytes(DIGEST, owner="project:p") == 0


async def test_usage_by_project_and_what_would_go(world: World, administrator: Principal) -> None:
    project = await ProjectService(world.store, ids=ulids(world.clock)).create(administrator, "cells")
    await world.content.put(world.scope(project.project.id), [(DIGEST, DATA)])
    await world.blobs.put_bytes(b"forgotten")
    await world.passes(1)

    usage = await world.storage.usage(administrator)
    look = await world.storage.collect(administrator, dry_run=True)

    assert [(project.name, used.blobs, used.size_bytes) for project, used in usage.projects] == [("cells", 1, 9)]
    assert usage.stored is not None
    assert usage.stored.blobs == 2
    assert usage.unreferenced is not None
    assert usage.unreferenced.size_bytes == 9
    assert (look.blobs, look.size_bytes) == (1, 9)
    assert len(look.some) == 1
    assert (await world.storage.collect(administrator, dry_run=False)).blobs == 1


async def test_only_administrators_collect(world: World) -> None:
    somebody = Principal("u", "ada", InstallationRole.USER)
    with pytest.raises(PermissionDeniedError):
        await world.storage.collect(somebody, dry_run=True)
    usage = await world.storage.usage(somebody)
    assert usage.stored is None
    assert list(usage.projects) == []


async def test_the_collector_stands_still_during_a_backup(world: World, tmp_path: Path) -> None:
    lock = tmp_path / "backup.lock"
    assert not is_locked(lock)
    await world.blobs.put_bytes(DATA)
    await world.passes(1)
    paused = Collection(world.store, world.kept, terms=TERMS, paused=lambda: is_locked(lock))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert (await paused.run()).blobs == 0
    assert (await paused.run()).blobs == 1
