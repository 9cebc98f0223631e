"""Brief units of work, prepared statements, and commits that are shared."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.storage.database.engine import Database
from lodeworks_controller.storage.database.unit import SqlStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
IDS = ulids(lambda: NOW)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await SqlStore.open(tmp_path / "lode.db", clock=lambda: NOW, ids=IDS)
    await opened.create_schema()
    yield opened
    await opened.close()


def a_task(**more: object) -> Task:
    values = {"kind": "k", "project_id": "p", "title": "t", "state": TaskState.QUEUED, "spec": {"ü": [1, None]}}
    return Task(id=IDS(), created_at=NOW, updated_at=NOW, **{**values, **more})  # type: ignore[arg-type]


async def test_a_brief_unit_keeps_and_reads_what_an_ordinary_one_does(store: SqlStore):
    task = a_task(requires=frozenset({"b", "a"}), not_before=NOW)
    async with store.transaction(brief=True) as tx:
        await tx.tasks.insert(task, depends_on=())
    async with store.snapshot(brief=True) as tx:
        brief = await tx.tasks.get(task.id)
    async with store.snapshot() as tx:
        ordinary = await tx.tasks.get(task.id)
    assert brief == ordinary == task


async def test_a_brief_unit_that_fails_leaves_the_others_of_its_group_alone(store: SqlStore):
    kept, dropped = a_task(), a_task()

    async def keep() -> None:
        async with store.transaction(brief=True) as tx:
            await tx.tasks.insert(kept, depends_on=())

    async def drop() -> None:
        async with store.transaction(brief=True) as tx:
            await tx.tasks.insert(dropped, depends_on=())
            raise RuntimeError

    _, failed, _ = await asyncio.gather(keep(), drop(), store_nothing(store), return_exceptions=True)
    assert isinstance(failed, RuntimeError)
    async with store.snapshot(brief=True) as tx:
        assert await tx.tasks.get(kept.id) == kept
        with pytest.raises(NotFoundError):
            await tx.tasks.get(dropped.id)


async def store_nothing(store: SqlStore) -> None:
    async with store.transaction():
        pass


async def test_who_is_woken_before_the_commit_sees_what_was_written_and_shares_it(store: SqlStore):
    task = a_task()
    order: list[str] = []
    woken = asyncio.Event()

    async def follow() -> None:
        await woken.wait()
        async with store.transaction(brief=True) as tx:
            assert (await tx.tasks.get(task.id)).id == task.id
            order.append("followed")

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    async with store.transaction(brief=True) as tx:
        await tx.tasks.insert(task, depends_on=())
        tx.on_kept(woken.set)
        tx.on_commit(lambda: order.append("durable"))
    await following
    assert order == ["followed", "durable"]


async def test_nobody_is_woken_by_a_unit_that_fails(store: SqlStore):
    woken: list[int] = []

    async def fail() -> None:
        async with store.transaction(brief=True) as tx:
            tx.on_kept(lambda: woken.append(1))
            tx.on_commit(lambda: woken.append(2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert woken == []


async def test_a_heartbeat_is_written_and_the_units_after_it_are_durable_again(store: SqlStore):
    task = a_task()
    async with store.transaction(heartbeat=True) as tx:
        await tx.tasks.insert(task, depends_on=())
    async with store.transaction(brief=True) as tx:
        assert await tx.tasks.get(task.id) == task


async def test_brief_reads_at_the_same_time_have_a_connection_each(store: SqlStore):
    async with (
        store.snapshot(brief=True) as one,
        store.snapshot(brief=True) as two,
        store.snapshot(brief=True) as three,
    ):
        assert [await tx.tasks.counts() for tx in (one, two, three)] == [{}, {}, {}]


def test_an_unknown_durability_is_refused(tmp_path: Path):
    with pytest.raises(InvalidError, match="FULL or NORMAL"):
        Database(tmp_path / "lode.db", synchronous="OFF")
