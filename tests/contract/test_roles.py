"""Leases of roles: one holder at a time, an epoch for each, hand-over at expiry, and fenced writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lodeworks_controller.background.roles import LeasedRoles, while_held
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.service.collection import Collection, CollectionTerms
from lodeworks_controller.service.role import RoleLostError
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.database.unit import SqlStore


class World:
    """One database, seen by as many controllers as wanted, and its clock."""

    def __init__(self, address: Path | str, stack: AsyncExitStack) -> None:
        self.address = address
        self.stack = stack
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.first: SqlStore | None = None

    def clock(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def store(self) -> SqlStore:
        """Returns the next controller's store; SQLite has one writer, so there they share it."""
        if self.first is not None and isinstance(self.address, Path):
            return self.first
        store = await SqlStore.open(self.address, clock=self.clock, ids=ulids(self.clock), database_clock=False)
        self.stack.push_async_callback(store.close)
        if self.first is None:
            self.first = store
            await store.create_schema()
        return store

    async def roles(self, name: str, *, names: tuple[str, ...] = ("placer", "cron")) -> LeasedRoles:
        return LeasedRoles(await self.store(), holder=name, holder_name=name, names=names)


@pytest.fixture
async def world(database_address: Path | str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(database_address, stack)


async def test_each_role_is_held_by_one_and_the_other_takes_it_at_expiry(world: World) -> None:
    ada, ben = await world.roles("ada"), await world.roles("ben")
    await ada.keep()
    await ben.keep()
    assert ada.role("placer").held
    assert ada.role("cron").held
    assert not ben.role("placer").held

    world.pass_s(3.9)
    await ben.keep()
    assert not ben.role("placer").held
    world.pass_s(0.2)
    await ben.keep()
    assert ben.role("placer").held
    await ada.keep()
    assert not ada.role("placer").held
    store = await world.store()
    async with store.snapshot() as tx:
        leases = await tx.roles.list()
    assert [(lease.role, lease.holder, lease.epoch) for lease in leases] == [("cron", "ben", 2), ("placer", "ben", 2)]


async def test_a_renewed_lease_keeps_its_epoch(world: World) -> None:
    ada, ben = await world.roles("ada"), await world.roles("ben")
    for _ in range(5):
        await ada.keep()
        await ben.keep()
        world.pass_s(3.0)
    async with (await world.store()).snapshot() as tx:
        assert {(lease.holder, lease.epoch) for lease in await tx.roles.list()} == {("ada", 1)}


async def test_a_role_given_back_is_free_at_once(world: World) -> None:
    ada, ben = await world.roles("ada"), await world.roles("ben")
    await ada.keep()
    await ada.give_back()
    await ben.keep()
    assert not ada.role("cron").held
    assert ben.role("cron").held


async def test_what_was_begun_in_a_role_is_refused_once_another_has_it(world: World) -> None:
    ada, ben = await world.roles("ada"), await world.roles("ben")
    await ada.keep()
    fenced = ada.store("placer")
    async with fenced.transaction() as tx:
        await tx.audit.add("mine", "x")
    world.pass_s(5)
    await ben.keep()
    # Ada froze before it could learn of it: by its own clock it still is the placer.
    assert ada.role("placer").held
    with pytest.raises(RoleLostError):
        async with fenced.transaction() as tx:
            await tx.audit.add("late", "x")
    async with fenced.snapshot() as tx:
        assert [entry.action for entry in await tx.audit.list()] == ["mine"]


async def test_a_collector_that_lost_its_role_removes_nothing(world: World, tmp_path: Path) -> None:
    ada, ben = await world.roles("ada", names=("collector",)), await world.roles("ben", names=("collector",))
    kept = DiskBlobStore(tmp_path / "blobs", ids=ulids(world.clock))
    kept.open()
    blob = await kept.put_bytes(b"a picture")
    at_once = CollectionTerms(grace=timedelta(0))
    before = Collection(await world.store(), kept, terms=at_once)
    await before.learn()
    await before.mark()
    world.pass_s(1)
    await ada.keep()
    collection = Collection(ada.store("collector"), kept, terms=at_once)
    claim = await collection.claim()
    assert [one.digest for one in claim.blobs] == [blob.digest]
    world.pass_s(5)
    await ben.keep()
    with pytest.raises(RoleLostError):
        await collection.remove(claim)
    assert not await kept.find_missing([blob.digest])
    world.pass_s(at_once.sweep.total_seconds())
    await ben.keep()
    assert (await Collection(ben.store("collector"), kept, terms=at_once).sweep()).blobs == 1


async def test_a_holder_that_cannot_renew_stops_by_its_own_clock(world: World) -> None:
    brief = LeasedRoles(await world.store(), holder="ada", holder_name="ada", names=("cron",), ttl_s=0.6)
    await brief.keep()
    ran: list[str] = []

    async def work() -> None:
        ran.append("worked")

    guarded = while_held(brief.role("cron"), work, otherwise=lambda: ran.append("left"))
    await guarded()
    async with asyncio.timeout(5):
        while brief.role("cron").held:  # noqa: ASYNC110 (time passes, nothing tells)
            await asyncio.sleep(0.01)
    await guarded()
    assert ran == ["worked", "left"]


async def test_many_that_want_a_role_at_once_get_it_one_after_the_other(world: World) -> None:
    crowd = [await world.roles(f"c{number}", names=("cron",)) for number in range(8)]
    for epoch in range(1, 6):
        await asyncio.gather(*(roles.keep() for roles in crowd))
        assert sum(roles.role("cron").held for roles in crowd) == 1
        async with (await world.store()).snapshot() as tx:
            assert [lease.epoch for lease in await tx.roles.list()] == [epoch]
        world.pass_s(5)
        # The one that held it is gone: another start of it has another id.
        crowd = [await world.roles(f"c{number}-{epoch}", names=("cron",)) for number in range(8)]
