"""Runs while controllers go away, leases are lost and workers vanish at any moment."""

import asyncio
import json
import random
from dataclasses import replace

import pytest
from lodeworks_worker.control_plane import RunState, Verdict
from lodeworks_worker.drivers.fake import FakeScript
from lodeworks_worker.errors import RemovedError, SessionLostError, SupersededError
from lodeworks_worker.outcome import OutcomeState
from one_machine import TRAINED, OneMachine


@pytest.fixture
def world(tmp_path):
    return OneMachine(tmp_path)


async def test_a_lost_lease_drops_the_run_without_a_word(world):
    world.grant(script=FakeScript(run_for_s=60))
    async with world.worker() as (_, runs):
        await world.until(lambda: any(one.state is RunState.RUNNING for one in world.control.reports))
        world.control.verdicts["t1"] = Verdict.LOST
        await world.until(lambda: not runs.held())
        await world.until(lambda: not list((world.folder / "runs").iterdir()))
    assert not world.control.outcomes


async def test_a_run_that_was_thought_lost_goes_on_when_a_report_gives_it_back(world):
    lines = tuple(f"line {number}" for number in range(20))
    world.grant(script=FakeScript(run_for_s=1.0, log_lines=lines, line_every_s=0.05, outputs=TRAINED))
    async with world.worker():
        await world.until(lambda: world.control.logs.get(("t1", "out")))
        grant = world.control.leased.pop(("t1", 1))
        await world.until(lambda: world.control.stale)
        world.control.leased["t1", 1] = grant
        outcome = await world.outcome()
    assert outcome.judgement.state is OutcomeState.SUCCEEDED
    assert world.starts == ["t1-1"]
    assert world.control.logs[("t1", "out")].decode().splitlines() == list(lines)


async def test_a_new_epoch_displaces_the_old_run(world):
    grant = world.grant(script=FakeScript(run_for_s=60))
    async with world.worker():
        await world.until(lambda: world.starts)
        world.scripts["t1"] = FakeScript(outputs=TRAINED)
        world.control.waiting.append(replace(grant, lease_epoch=2))
        outcome = await world.outcome(epoch=2)
    assert outcome.judgement.state is OutcomeState.SUCCEEDED
    assert world.starts == ["t1-1", "t1-2"]
    assert ("t1", 1) not in world.control.outcomes


async def test_a_lost_reply_is_repeated_with_the_same_request_id(world):
    world.control.loses_replies = True
    world.grant()
    async with world.worker() as (_, runs):
        await world.outcome()
        await world.until(lambda: not runs.held())
    assert len(world.control.request_ids) == 2
    assert len(set(world.control.request_ids)) == 1


async def test_an_outcome_is_told_by_the_next_worker(world):
    world.grant(script=FakeScript(outputs=TRAINED, run_for_s=0.1))
    async with world.worker() as (_, runs):
        await world.until(lambda: world.starts)
        world.control.away = True
        await world.until(lambda: any(one.finished for one in runs.held()))
        await world.more_turned_away()
    assert not world.control.outcomes
    world.control.away = False
    async with world.worker() as (_, runs):
        outcome = await world.outcome()
    assert outcome.judgement.state is OutcomeState.SUCCEEDED
    assert world.starts == ["t1-1"]
    held = world.control.registered[-1][1]
    assert [(one.task_id, one.lease_epoch) for one in held] == [("t1", 1)]


async def test_a_controller_that_is_away_loses_no_log(world):
    world.grant(script=FakeScript(outputs=TRAINED, run_for_s=0.3, log_lines=tuple(f"line {n}" for n in range(1000))))
    async with world.worker():
        await world.until(lambda: world.starts)
        world.control.away = True
        await world.more_turned_away()
        world.control.away = False
        await world.outcome()
    assert bytes(world.control.logs["t1", "out"]).decode().splitlines() == [f"line {n}" for n in range(1000)]


async def test_a_controller_that_lost_log_bytes_gets_them_again(world):
    world.grant(script=FakeScript(outputs=TRAINED, run_for_s=0.5, log_lines=("one", "two", "three")))
    async with world.worker():
        await world.until(lambda: bytes(world.control.logs.get(("t1", "out"), b"")) == b"one\ntwo\nthree\n")
    del world.control.logs["t1", "out"][4:]
    mark = world.folder / "runs" / "t1-1" / "fake.json"
    told = json.loads(mark.read_text())
    mark.write_text(json.dumps({**told, "log": told["log"] + "four\n"}))
    async with world.worker():
        outcome = await world.outcome()
    assert bytes(world.control.logs["t1", "out"]) == b"one\ntwo\nthree\nfour\n"
    assert outcome.out_log_bytes == 19


async def test_runs_that_register_kills_are_dropped(world):
    world.grant(script=FakeScript(run_for_s=60))
    async with world.worker():
        await world.until(lambda: world.starts)
    world.control.kill = frozenset({"t1"})
    async with world.worker() as (_, runs):
        await world.until(lambda: not runs.held())
    assert not world.control.outcomes


async def test_strays_without_an_entry_are_cleared_away(world):
    world.grant(script=FakeScript(run_for_s=60))
    async with world.worker():
        await world.until(lambda: world.starts)
    (world.folder / "journal.db").unlink()
    async with world.worker() as (_, runs):
        assert not runs.held()
        assert not list((world.folder / "runs").iterdir())


async def test_a_lost_session_is_opened_again(world):
    async with world.worker():
        await world.until(lambda: world.control.registered)
        world.control.session = 77
        world.grant()
        await world.outcome()
    assert len(world.control.registered) == 2


async def test_a_rival_with_the_same_key_ends_the_worker(world):
    async def superseded(*_args, **_kwargs):
        raise SessionLostError("another boot is live")

    world.control.report = superseded
    async with world.worker() as (holding, _):
        with pytest.raises(SupersededError):
            await asyncio.wait_for(holding, 20)


async def test_a_removed_worker_stops(world):
    async def removed(**_kwargs):
        raise RemovedError("enrol again")

    world.control.register = removed
    async with world.worker() as (holding, _):
        with pytest.raises(RemovedError):
            await asyncio.wait_for(holding, 20)


@pytest.mark.parametrize("seed", range(12))
async def test_workers_that_vanish_at_any_moment_lose_and_repeat_nothing(world, seed):
    chance = random.Random(seed)
    tasks = [f"t{number}" for number in range(3)]
    lines = tuple(f"line {number}" for number in range(50))
    for task_id in tasks:
        script = FakeScript(outputs=TRAINED, run_for_s=chance.uniform(0, 0.15), log_lines=lines)
        view = world.transfer.input("notes", f"notes of {task_id}".encode())
        world.grant(task_id, script=script, inputs=(view,))
    for _ in range(100):
        vanishes = world.control.calls + chance.randrange(12)
        async with world.worker(max_runs=3):
            await world.until(lambda: world.control.calls >= vanishes)  # noqa: B023 - awaited here
        if len(world.control.outcomes) == len(tasks):
            break
    async with world.worker(max_runs=3):
        outcomes = [await world.outcome(task_id) for task_id in tasks]
        await world.until(lambda: not list((world.folder / "runs").iterdir()))
    assert [one.judgement.state for one in outcomes] == [OutcomeState.SUCCEEDED] * 3
    assert sorted(world.starts) == [f"{task_id}-1" for task_id in tasks]
    for task_id in tasks:
        assert bytes(world.control.logs[task_id, "out"]).decode().splitlines() == list(lines)


async def test_a_grant_that_comes_again_after_its_run_is_over_starts_nothing(world):
    grant = world.grant()
    async with world.worker() as (_, runs):
        await world.outcome()
        await world.until(lambda: not runs.held())
        assert not await runs.accept(grant)
    assert world.starts == ["t1-1"]
