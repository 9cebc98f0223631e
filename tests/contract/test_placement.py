"""Which task a worker gets, on a real database: shares, quotas, labels, big tasks, GPUs that are really free."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from engine_world import ADMIN, OFFERS, Engine
from lodeworks_controller.domain.identity import ProjectRole, User
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.project import Member, ObjectType, Project, ProjectState
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.quota import Quota, QuotaScope
from lodeworks_controller.domain.task.run import Limits, Resources
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.domain.worker import Capabilities
from lodeworks_controller.errors import ExhaustedError, InvalidError, NotFoundError
from lodeworks_controller.storage.database.unit import SqlStore

P, Q = "p" * 26, "q" * 26


@pytest.fixture
async def engine(database_address: Path | str) -> AsyncIterator[Engine]:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    store = await SqlStore.open(
        database_address, clock=lambda: clock[0], ids=ulids(lambda: clock[0]), database_clock=False
    )
    await store.create_schema()
    async with store.transaction() as tx:
        for project_id, name in ((P, "cells"), (Q, "leaves")):
            made = Project(project_id, name, ObjectType.DETECTION, ProjectState.ACTIVE, 0, ADMIN.user_id, clock[0])
            await tx.projects.add(made)
        await tx.users.add(User(ADMIN.user_id, ADMIN.name, ADMIN.role, clock[0]))
    yield Engine(store, clock)
    await store.close()


async def set_quota(engine: Engine, quota: Quota) -> None:
    async with engine.store.transaction() as tx:
        await tx.quotas.put(quota)
    engine.pass_s(2)  # they are remembered for a second


async def waiting_reason(engine: Engine, task_id: str) -> str:
    await engine.planning.explain_waiting()
    async with engine.store.snapshot() as tx:
        return (await tx.tasks.get(task_id)).waiting_reason


async def test_projects_take_turns_by_weight(engine: Engine) -> None:
    await set_quota(engine, Quota(QuotaScope.PROJECT, P, weight=2.0))
    for project_id in (P, Q):
        for _ in range(6):
            await engine.submit(project_id=project_id)
    await engine.plan()
    box = await engine.add_worker("box")
    grants = (await engine.poll(box, most=6)).grants
    assert [grant.task.project_id for grant in grants].count(P) == 4


async def test_priority_orders_a_project_and_can_be_changed_while_it_waits(engine: Engine) -> None:
    first, second = await engine.submit(), await engine.submit(options=TaskOptions(priority=5))
    await engine.plan()
    async with engine.store.snapshot() as tx:
        waits = await tx.tasks.get(first.id)
    await engine.tasks.set_priority(ADMIN, first.id, 9)
    box = await engine.add_worker("box")
    grants = (await engine.poll(box, most=2)).grants
    assert [grant.task.id for grant in grants] == [first.id, second.id]
    assert waits.priority == 0


async def test_a_running_quota_makes_tasks_wait_and_says_so(engine: Engine) -> None:
    await set_quota(engine, Quota(QuotaScope.PROJECT, P, running_tasks=1))
    tasks = [await engine.submit() for _ in range(2)]
    other = await engine.submit(project_id=Q)
    await engine.plan()
    box = await engine.add_worker("box")
    grants = (await engine.poll(box, most=3)).grants
    assert {grant.task.id for grant in grants} == {tasks[0].id, other.id}
    assert "its quota of 1 running task (1 running)" in await waiting_reason(engine, tasks[1].id)
    await engine.complete(box, next(one for one in grants if one.task.id == tasks[0].id))
    assert [grant.task.id for grant in (await engine.poll(box, most=3)).grants] == [tasks[1].id]


async def test_a_user_quota_binds_over_all_projects(engine: Engine) -> None:
    await set_quota(engine, Quota(QuotaScope.USER, ADMIN.user_id, gpus=2))
    for project_id in (P, Q):
        await engine.submit(project_id=project_id, created_by=ADMIN.user_id, options=TaskOptions(gpus=2))
    await engine.plan()
    box = await engine.add_worker("box", gpus=4)
    assert len((await engine.poll(box, most=2)).grants) == 1


async def test_wishes_above_a_quota_are_refused(engine: Engine) -> None:
    await set_quota(engine, Quota(QuotaScope.PROJECT, P, queued_tasks=1, gpus=2))
    with pytest.raises(ExhaustedError) as wanted:
        await engine.submit(options=TaskOptions(gpus=3))
    assert wanted.value.reason == "QUOTA_GPUS"
    await engine.submit()
    with pytest.raises(ExhaustedError, match="project cells has 1 waiting tasks") as refused:
        await engine.submit()
    assert refused.value.reason == "QUOTA_QUEUED_TASKS"


async def test_labels_choose_the_worker(engine: Engine) -> None:
    task = await engine.submit(options=TaskOptions(labels="gpu=a100, !slow"))
    await engine.plan()
    plain = await engine.add_worker("plain", capabilities=Capabilities(names=OFFERS.names, labels={"gpu": "t4"}))
    assert not (await engine.poll(plain)).grants
    assert "labels like 'gpu=a100,!slow' (plain: gpu=t4)" in await waiting_reason(engine, task.id)
    fast = await engine.add_worker("fast", capabilities=Capabilities(names=OFFERS.names, labels={"gpu": "a100"}))
    assert [grant.task.id for grant in (await engine.poll(fast)).grants] == [task.id]


async def test_a_gpu_that_others_use_is_left_alone_only_by_who_asks_so(engine: Engine) -> None:
    picky = await engine.submit(options=TaskOptions(gpus=2, only_free_gpus=True))
    box = await engine.add_worker("box", gpus=2)
    await engine.plan()
    assert not (await engine.poll(box, used=frozenset({"GPU-1"}))).grants
    assert "that no other program uses" in await waiting_reason(engine, picky.id)
    usual = await engine.submit(options=TaskOptions(gpus=1))
    await engine.plan()
    assert [one.task.id for one in (await engine.poll(box, used=frozenset({"GPU-0", "GPU-1"}))).grants] == [usual.id]
    more = await engine.add_worker("more", gpus=2)
    assert [one.task.id for one in (await engine.poll(more)).grants] == [picky.id]


async def test_a_big_task_does_not_starve_and_small_ones_fill_what_cannot_delay_it(engine: Engine) -> None:
    box = await engine.add_worker("box", gpus=4)
    small = [await engine.submit(options=TaskOptions(gpus=1, run_timeout_s=3600)) for _ in range(2)]
    await engine.plan()
    held = (await engine.poll(box, most=2)).grants
    big = await engine.submit(options=TaskOptions(gpus=4))
    await engine.plan()
    endless = await engine.submit(options=TaskOptions(gpus=1, priority=50))
    short = await engine.submit(options=TaskOptions(gpus=1, run_timeout_s=60))
    nothing = await engine.submit()
    await engine.plan()
    grants = (await engine.poll(box, most=9)).grants
    assert {grant.task.id for grant in grants} == {short.id, nothing.id}
    assert "worker box is kept for it: 3 of 4 GPUs" in await waiting_reason(engine, big.id)
    assert f"kept for task {big.id}" in await waiting_reason(engine, endless.id)
    for grant in (*held, *grants):
        await engine.complete(box, grant)
    after = (await engine.poll(box, most=9)).grants
    assert [grant.task.id for grant in after] == [big.id]
    assert len(after[0].gpu_uuids) == 4
    assert [one.id for one in small] == [grant.task.id for grant in held]


async def test_what_does_not_start_in_time_fails_and_says_why(engine: Engine) -> None:
    box = await engine.add_worker("box", gpus=1)
    hopeless = await engine.submit(options=TaskOptions(gpus=4, start_timeout_s=60))
    late = await engine.submit(options=TaskOptions(gpus=1, start_timeout_s=60))
    await engine.plan()
    engine.pass_s(59)
    await engine.planning.give_up_late()
    assert (await engine.get(late)).state is TaskState.QUEUED
    engine.pass_s(1)
    await engine.planning.give_up_late()
    ended = [await engine.get(one) for one in (hopeless, late)]
    assert [one.failure.reason for one in ended if one.failure] == [FailureReason.NO_WORKER, FailureReason.TIMEOUT]
    assert ended[0].failure is not None
    assert "the most is 1" in ended[0].failure.message
    assert not (await engine.poll(box)).grants


async def test_time_to_start_begins_when_the_parents_are_done(engine: Engine) -> None:
    box = await engine.add_worker("box")
    parent = await engine.submit()
    child = await engine.submit(options=TaskOptions(after=(parent.id,), start_timeout_s=60))
    assert child.state is TaskState.BLOCKED
    grant = await engine.lease(box)
    engine.pass_s(600)
    await engine.planning.give_up_late()
    await engine.complete(box, grant)
    await engine.finish()
    ready = await engine.get(child)
    assert ready.state is TaskState.QUEUED
    assert ready.start_before is not None
    assert (ready.start_before - engine.clock[0]).total_seconds() == 60


async def test_options_are_checked_against_who_asks(engine: Engine) -> None:
    other = "o" * 26
    async with engine.store.transaction() as tx:
        await tx.users.add(User(other, "bob", type(ADMIN.role).USER, engine.clock[0]))
        await tx.projects.put_member(Member(P, other, ProjectRole.EDITOR, "bob"))
    with pytest.raises(InvalidError, match="between -100 and 100"):
        await engine.submit(created_by=other, options=TaskOptions(priority=101))
    await engine.submit(created_by=ADMIN.user_id, options=TaskOptions(priority=101))
    foreign = await engine.submit(project_id=Q)
    with pytest.raises(NotFoundError):
        await engine.submit(created_by=other, options=TaskOptions(after=(foreign.id,)))
    with pytest.raises(InvalidError):
        await engine.submit(options=TaskOptions(labels="a=b=c"))


async def test_what_a_service_wishes_stands_where_nothing_else_is_asked(engine: Engine) -> None:
    wish = await engine.submit(
        resources=Resources(gpus=1), limits=Limits(run_timeout_s=5), user_retries=1, options=TaskOptions(retries=4)
    )
    assert (wish.resources.gpus, wish.limits.run_timeout_s, wish.budget.user) == (1, 5, 4)
