"""Several controllers at once on one database: what one writer made exact on SQLite is as exact on PostgreSQL."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lodeworks_controller.domain.dataset import Dataset
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.project import ObjectType, Project, ProjectState
from lodeworks_controller.domain.task.lease import LeaseTerms, granted
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.domain.worker import DirectiveKind, Gpu, Worker
from lodeworks_controller.errors import ExistsError, InvalidError, UnavailableError
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.storage.database.postgres import PostgresDatabase
from lodeworks_controller.storage.database.unit import SqlStore, SqlTransaction
from postgres_server import running_postgres
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

pytestmark = pytest.mark.postgres

STORES = 3
ROUNDS = 12


def now() -> datetime:
    return datetime.now(UTC)


ids = ulids(now)


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Sequence[SqlStore]]:
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(STORES):
            store = await SqlStore.open(postgres_url, clock=now, ids=ids)
            stack.push_async_callback(store.close)
            made.append(store)
        await made[0].create_schema()
        yield made


def project_at(moment: datetime) -> Project:
    given = {"object_type": ObjectType.DETECTION, "state": ProjectState.ACTIVE, "class_revision": 0}
    return Project(id=ids(), name="cells", created_by="u", created_at=moment, **given)


async def at_once(stores: Sequence[SqlStore], work: Callable[[SqlStore, int], Awaitable[None]]) -> None:
    """Lets every controller do the work several times, all of it at once."""
    await asyncio.gather(*(work(store, number) for number in range(ROUNDS) for store in stores))


async def test_numbers_are_given_once(stores: Sequence[SqlStore]) -> None:
    given: list[int] = []

    async def reserve(store: SqlStore, number: int) -> None:
        async with store.transaction() as tx:
            first = await tx.catalogue.reserve("assets", number + 1)
        given.extend(range(first, first + number + 1))

    await at_once(stores, reserve)
    assert sorted(given) == list(range(1, len(given) + 1))


async def test_a_name_has_one_number_whoever_asks_first(stores: Sequence[SqlStore]) -> None:
    seen: dict[str, set[int]] = {}

    async def intern(store: SqlStore, number: int) -> None:
        names = [f"class {(number + step) % 7}" for step in range(4)]
        async with store.transaction() as tx:
            for name, rid in (await tx.classes.intern(names)).items():
                seen.setdefault(name, set()).add(rid)

    await at_once(stores, intern)
    assert all(len(rids) == 1 for rids in seen.values())
    assert len({rid for rids in seen.values() for rid in rids}) == len(seen) == 7


async def test_of_those_who_want_one_name_one_gets_it(stores: Sequence[SqlStore]) -> None:
    outcomes: Counter[str] = Counter()

    async def make(store: SqlStore, number: int) -> None:
        del number
        try:
            async with store.transaction() as tx:
                await tx.projects.add(project_at(tx.now()))
            outcomes["made"] += 1
        except ExistsError:
            outcomes["refused"] += 1

    await at_once(stores, make)
    assert outcomes == {"made": 1, "refused": STORES * ROUNDS - 1}


async def test_one_intent_is_carried_out_once(stores: Sequence[SqlStore]) -> None:
    answers: list[str] = []
    once = Once("user:u", "thing.make", "the-request")

    async def carry_out(store: SqlStore, number: int) -> None:
        del number
        async with store.transaction() as tx:
            made = await once.result(tx)
            if made is None:
                made = ids()
                await tx.audit.add("thing.make", made)
                await once.keep(tx, made)
        answers.append(made)

    await at_once(stores, carry_out)
    assert len(set(answers)) == 1
    async with stores[0].snapshot() as tx:
        assert [entry.subject for entry in await tx.audit.list()] == answers[:1]


async def test_a_gpu_is_held_by_one_task_and_an_order_has_its_own_number(stores: Sequence[SqlStore]) -> None:
    async with stores[0].transaction() as tx:
        await tx.workers.insert(Worker("w" * 26, "box", tx.now()))
        await tx.workers.put_gpus("w" * 26, [Gpu(f"GPU-{number}") for number in range(4)])
    held: list[str] = []

    async def hold(store: SqlStore, number: int) -> None:
        wanted = random.Random(number).sample([f"GPU-{one}" for one in range(4)], 2)
        async with store.transaction() as tx:
            await tx.workers.add_directive("w" * 26, DirectiveKind.DRAIN)
            if await tx.workers.hold_gpus("w" * 26, wanted, task_id=ids()):
                held.extend(wanted)

    await at_once(stores, hold)
    assert len(held) == len(set(held))
    async with stores[0].snapshot() as tx:
        orders = await tx.workers.directives("w" * 26, after_seq=0)
    assert [one.seq for one in orders] == list(range(1, STORES * ROUNDS + 1))


async def test_a_task_is_leased_once_and_a_lost_swap_changes_nothing(stores: Sequence[SqlStore]) -> None:
    async with stores[0].transaction() as tx:
        made = {"created_at": tx.now(), "updated_at": tx.now(), "planned": True}
        task = Task(ids(), "nothing", "p" * 26, "t", TaskState.QUEUED, **made)
        await tx.tasks.insert(task, depends_on=())
    won: list[int] = []

    async def lease(store: SqlStore, number: int) -> None:
        async with store.transaction() as tx:
            # Everybody decides on the state of the beginning, as a slow controller would.
            after = granted(task, worker_id=f"{number:026}", at=tx.now(), terms=LeaseTerms())
            if await tx.tasks.swap(task, after):
                won.append(number)

    await at_once(stores, lease)
    assert len(won) == 1
    async with stores[0].snapshot() as tx:
        kept = await tx.tasks.get(task.id)
    assert kept.lease.owner == f"{won[0]:026}"
    assert kept.revision == task.revision + 1


async def test_a_counter_that_is_read_and_written_loses_nothing(stores: Sequence[SqlStore]) -> None:
    async def count(store: SqlStore, number: int) -> None:
        del number
        async with store.transaction() as tx:
            dataset = await tx.datasets.find(project.id, "counted")
            assert dataset is not None
            await asyncio.sleep(0)
            await tx.datasets.put(replace(dataset, last_number=dataset.last_number + 1))

    async with stores[0].transaction() as tx:
        project = project_at(tx.now())
        await tx.projects.add(project)
        await tx.datasets.add(Dataset(ids(), project.id, "counted", tx.now()))
    await at_once(stores, count)
    async with stores[0].snapshot() as tx:
        dataset = await tx.datasets.find(project.id, "counted")
    assert dataset is not None
    assert dataset.last_number == STORES * ROUNDS


async def test_the_moment_is_the_servers_and_does_not_go_back(stores: Sequence[SqlStore]) -> None:
    moments: list[datetime] = []

    async def look(store: SqlStore, number: int) -> None:
        del number
        async with store.transaction() as tx:
            moments.append(tx.now())

    await at_once(stores, look)
    assert moments == sorted(moments)
    assert abs(now() - moments[-1]) < timedelta(seconds=60)


async def test_a_server_that_restarts_is_refused_meanwhile_and_used_again(
    postgres_programs: Path,
) -> None:
    with running_postgres(postgres_programs) as server:
        url = await asyncio.to_thread(server.create)
        store = await SqlStore.open(url, clock=now, ids=ids)
        await store.create_schema()
        async with store.transaction() as tx:
            await tx.audit.add("before", "x")
        await asyncio.to_thread(server.stop)
        with pytest.raises(UnavailableError, match="does not answer"):
            async with store.transaction() as tx:
                await tx.audit.add("meanwhile", "x")
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(30):
            while not await _added(store, "after"):  # noqa: ASYNC110 (another process starts)
                await asyncio.sleep(0.05)
        async with store.snapshot() as tx:
            assert [entry.action for entry in await tx.audit.list()] == ["after", "before"]
        await store.close()


async def _added(store: SqlStore, action: str) -> bool:
    try:
        async with store.transaction() as tx:
            await tx.audit.add(action, "x")
    except UnavailableError:
        return False
    return True


async def test_a_unit_whose_connection_is_cut_was_never(stores: Sequence[SqlStore]) -> None:
    async def cut() -> None:
        async with stores[0].transaction() as tx:
            await tx.audit.add("cut", "x")
            await _end_others(tx)
            await tx.audit.add("too late", "x")

    with pytest.raises(UnavailableError):
        await cut()
    # The lock went with the connection: others go on, and so does this one.
    for store in stores:
        async with store.transaction() as tx:
            await tx.audit.add("after", "x")
    async with stores[0].snapshot() as tx:
        assert {entry.action for entry in await tx.audit.list()} == {"after"}


async def test_a_failure_that_its_owner_passed_over_undoes_that_unit_alone(stores: Sequence[SqlStore]) -> None:
    async def careless() -> None:
        async with stores[0].transaction() as tx:
            await tx.audit.add("careless", "x")
            with suppress(DBAPIError):
                await tx._connection.execute(text("SELECT 1 / 0"))

    results = await asyncio.gather(
        _audited(stores[0], "before"), careless(), _audited(stores[0], "after"), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), DBAPIError, type(None)]
    async with stores[0].snapshot() as tx:
        assert [entry.action for entry in await tx.audit.list()] == ["after", "before"]


async def test_whoever_is_told_that_it_is_done_is_done_when_a_shared_connection_is_cut(
    stores: Sequence[SqlStore],
) -> None:
    async def cut() -> None:
        async with stores[0].transaction() as tx:
            await _end_others(tx)

    names = [f"{number:02}" for number in range(20)]
    units = [_audited(stores[0], name) for name in names]
    units.insert(10, cut())
    results = await asyncio.gather(*units, return_exceptions=True)
    assert isinstance(results.pop(10), UnavailableError)
    assert all(result is None or isinstance(result, UnavailableError) for result in results)
    async with stores[0].snapshot() as tx:
        found = {entry.action for entry in await tx.audit.list()}
    assert found == {name for name, result in zip(names, results, strict=True) if result is None}


async def _audited(store: SqlStore, action: str) -> None:
    async with store.transaction() as tx:
        await tx.audit.add(action, "x")


async def test_a_frozen_controller_does_not_hold_the_others_up(postgres_url: str, stores: Sequence[SqlStore]) -> None:
    frozen = await PostgresDatabase(postgres_url, frozen_s=0.3).open()
    freezing = asyncio.Event()
    thawed = asyncio.Event()

    async def freeze() -> None:
        async with frozen.write() as connection:
            await connection.execute(text("SELECT 1"))
            freezing.set()
            await thawed.wait()
            await connection.execute(text("SELECT 1"))

    task = asyncio.create_task(freeze())
    await freezing.wait()
    async with stores[0].transaction() as tx:
        await tx.audit.add("went on", "x")
    thawed.set()
    with pytest.raises(UnavailableError):
        await task
    await frozen.close()


async def _end_others(tx: SqlTransaction) -> None:
    """Ends every connection of the database but none of another database; so also the one of this unit."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    await tx._connection.execute(text(others))


async def test_a_text_that_no_database_keeps_is_refused(stores: Sequence[SqlStore]) -> None:
    with pytest.raises(InvalidError, match="NUL"):
        async with stores[0].transaction() as tx:
            await tx.audit.add("one", "a\0b")
