"""Runs from grant to confirmed outcome, with workers that vanish at any moment."""

import asyncio
import json
import logging
import random
import sqlite3
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from lodeworks_worker.cache import Cache
from lodeworks_worker.control_plane import Directive, DirectiveKind, Fingerprint, Health, RunState, Verdict
from lodeworks_worker.drivers.fake import FakeDriver, FakeScript
from lodeworks_worker.errors import RemovedError, SessionLostError, SupersededError
from lodeworks_worker.executors import Executors
from lodeworks_worker.grant import Grant, Input, Limits, OutputSlot, RunSpec
from lodeworks_worker.held_run import Kit
from lodeworks_worker.journal import Journal, RunPhase
from lodeworks_worker.outcome import FailureReason, OutcomeState
from lodeworks_worker.runs import Runs
from lodeworks_worker.session import Conversation, OpenSession
from made_controller import MadeController
from worker_world import DictionaryTransfer

RESULT = json.dumps({"map": 0.5, "model": ["best.pt"]})
TRAINED = {"models/result.yaml": RESULT, "models/best.pt": "weights"}
SLOTS = (OutputSlot("result", required=True), OutputSlot("stage/*", required=True))


class World:
    """One machine and one controller; workers come and go on it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.control = MadeController()
        self.transfer = DictionaryTransfer()
        self.scripts: dict[str, FakeScript] = {}
        self.starts: list[str] = []
        self.numbers = iter(range(1 << 30))
        self.driver = lambda: FakeDriver(folder / "runs", script=self.script)

    def script(self, launch):
        self.starts.append(launch.name)
        return self.scripts.get(launch.task_id, FakeScript())

    def grant(self, task_id="t1", epoch=1, *, script=None, inputs=(), **run):
        spec = RunSpec(executor="executor:detector", operations=("train",), outputs=SLOTS, inputs=inputs, **run)
        self.scripts[task_id] = script or FakeScript(outputs=TRAINED, log_lines=("one", "two"))
        grant = Grant(task_id, epoch, spec)
        self.control.waiting.append(grant)
        return grant

    @asynccontextmanager
    async def worker(self, *, max_runs=2):
        """Runs a worker; leaving lets go of it as kill -9 does: nothing is said, nothing is stopped."""
        log = logging.getLogger("test.worker")
        cache = Cache(self.folder / "cache", limit_bytes=1 << 30)
        await cache.open()
        journal = Journal(self.folder / "journal.db")
        opened, nudge = OpenSession(), asyncio.Event()
        kit = Kit(
            runs_folder=self.folder / "runs",
            journal=journal,
            cache=cache,
            transfer=self.transfer,
            control=self.control,
            drivers={"fake": self.driver()},
            executors=Executors(programs={}, everything="fake"),
            session=opened.id,
            changed=nudge.set,
            clock=asyncio.get_running_loop().time,
            ids=lambda: f"id-{next(self.numbers)}",
            log=log,
        )
        runs = Runs(kit, max_runs=max_runs, gpus=[])
        conversation = Conversation(
            self.control,
            runs,
            boot_id=f"boot-{next(self.numbers)}",
            fingerprint=Fingerprint(max_runs=max_runs),
            session=opened,
            nudge=nudge,
            health=Health,
            chance=lambda: 0.5,
            log=log,
        )
        await runs.recover()
        holding = asyncio.ensure_future(conversation.hold())
        try:
            yield holding, runs
        finally:
            holding.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await holding
            await runs.close()
            await journal.close()

    async def outcome(self, task_id="t1", epoch=1):
        async with asyncio.timeout(20):
            while (task_id, epoch) not in self.control.outcomes:  # noqa: ASYNC110 - a condition with a limit
                await asyncio.sleep(0.005)
        return self.control.outcomes[task_id, epoch]

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - a condition with a limit
                await asyncio.sleep(0.005)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def test_a_grant_becomes_an_outcome_with_outputs_logs_and_metrics(world):
    metrics = (
        '{"step": 1, "name": "loss", "value": 0.5, "time": 3}\nnonsense\n{"step": 2, "name": "loss", "value": 0.4}\n'
    )
    world.grant(script=FakeScript(outputs={**TRAINED, "lode/metrics.jsonl": metrics}, log_lines=("one", "two")))
    async with world.worker():
        outcome = await world.outcome()
        await world.until(lambda: not list((world.folder / "runs").iterdir()))
    assert outcome.judgement.state is OutcomeState.SUCCEEDED
    assert {one.role for one in outcome.outputs} == {"result", "stage/default_best_stage/best.pt"}
    assert all(one.digest in world.transfer.blobs for one in outcome.outputs)
    assert bytes(world.control.logs["t1", "out"]) == b"one\ntwo\n"
    assert outcome.out_log_bytes == 8
    assert [point.value for point in world.control.metrics["t1"]] == [0.5, 0.4]
    assert b"started by the fake driver" in world.control.logs["t1", "worker"]
    assert {one.state for one in world.control.reports} >= {RunState.STAGING}


async def test_a_run_is_started_once_however_often_its_grant_comes(world):
    grant = world.grant(script=FakeScript(outputs=TRAINED, run_for_s=0.2))
    async with world.worker():
        await world.until(lambda: world.starts)
        world.control.waiting += [grant, grant]
        await world.outcome()
    assert world.starts == ["t1-1"]


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        (
            FakeScript(code=3, log_lines=("a", "it broke")),
            FailureReason.USER,
            "exit code 3; it said last: a | it broke",
        ),
        (FakeScript(code=137, signal=9, oom=True), FailureReason.OOM, "memory ran out"),
        (FakeScript(dies_silently=True), FailureReason.LOST, "vanished"),
        (FakeScript(refuses="no room"), FailureReason.WORKER, "no room"),
        (FakeScript(), FailureReason.BAD_OUTPUT, "left no output 'result'"),
        (
            FakeScript(code=1, outputs={"monitor.txt": "t1\t1.0\t0.5\t4\t300103\tCUDA out of memory"}),
            FailureReason.OOM,
            "CUDA out of memory (exit code 1, code 300103 OUT_OF_MEMORY)",
        ),
        (
            FakeScript(code=1, outputs={"monitor.txt": "t1\t1.0\t0.5\t4\t300001\tepochs wants a number"}),
            FailureReason.BAD_INPUT,
            "epochs wants a number",
        ),
    ],
)
async def test_why_did_my_run_die(world, script, reason, words):
    world.grant(script=script)
    async with world.worker():
        outcome = await world.outcome()
    assert outcome.judgement.state is OutcomeState.FAILED
    assert outcome.judgement.failure is reason
    assert words in outcome.judgement.message


async def test_an_input_that_is_not_there_fails_the_run_and_not_the_worker(world):
    world.grant(inputs=(Input("train", "ab" * 32, 5),))
    world.grant("t2")
    async with world.worker():
        first, second = await world.outcome(), await world.outcome("t2")
    assert first.judgement.failure is FailureReason.WORKER
    assert second.judgement.state is OutcomeState.SUCCEEDED


async def test_a_cancelled_run_keeps_its_stages(world):
    world.grant(script=FakeScript(outputs=TRAINED, run_for_s=60))
    async with world.worker():
        await world.until(lambda: any(one.state is RunState.RUNNING for one in world.control.reports))
        world.control.directives.append(Directive(1, DirectiveKind.CANCEL, "t1", 1))
        outcome = await world.outcome()
    assert outcome.judgement.state is OutcomeState.CANCELLED
    assert "stage/default_best_stage/best.pt" in {one.role for one in outcome.outputs}


async def test_a_cancel_that_a_killed_worker_had_heard_is_still_a_cancel(world):
    world.grant(script=FakeScript(outputs=TRAINED, run_for_s=60, ignores_term=True), limits=Limits(grace_s=0.3))
    async with world.worker():
        await world.until(lambda: any(one.state is RunState.RUNNING for one in world.control.reports))
        world.control.directives.append(Directive(1, DirectiveKind.CANCEL, "t1", 1))
        await world.until(lambda: b"asked to end" in world.control.logs["t1", "worker"])
    async with world.worker():
        outcome = await world.outcome()
    assert outcome.judgement.state is OutcomeState.CANCELLED


async def test_limits_end_a_run(world):
    world.grant(script=FakeScript(run_for_s=60), limits=Limits(run_s=0.2))
    world.grant("t2", script=FakeScript(run_for_s=60), limits=Limits(stall_s=0.2))
    async with world.worker():
        first, second = await world.outcome(), await world.outcome("t2")
    assert first.judgement.failure is FailureReason.TIMEOUT
    assert second.judgement.failure is FailureReason.STALL


async def test_a_lost_lease_drops_the_run_without_a_word(world):
    world.grant(script=FakeScript(run_for_s=60))
    async with world.worker() as (_, runs):
        await world.until(lambda: any(one.state is RunState.RUNNING for one in world.control.reports))
        world.control.verdicts["t1"] = Verdict.LOST
        await world.until(lambda: not runs.held())
        await world.until(lambda: not list((world.folder / "runs").iterdir()))
    assert not world.control.outcomes


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
    async with world.worker():
        await world.until(lambda: world.starts)
        world.control.away = True
        await asyncio.sleep(0.3)
    assert not world.control.outcomes
    world.control.away = False
    async with world.worker():
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
        await asyncio.sleep(0.1)
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


async def test_a_full_worker_takes_no_more(world):
    for number in range(4):
        world.grant(f"t{number}", script=FakeScript(outputs=TRAINED, run_for_s=0.3))
    async with world.worker(max_runs=2):
        await world.until(lambda: len(world.starts) == 2)
        await asyncio.sleep(0.1)
        assert len(world.starts) == 2
        for number in range(4):
            await world.outcome(f"t{number}")


async def test_a_draining_worker_finishes_and_takes_no_more(world):
    world.control.directives.append(Directive(1, DirectiveKind.DRAIN))
    async with world.worker():
        await world.until(lambda: world.control.reports is not None and world.control.registered)
        await asyncio.sleep(0.05)
        world.grant()
        await asyncio.sleep(0.1)
        assert not world.starts
        world.control.directives.append(Directive(2, DirectiveKind.UNDRAIN))
        await world.outcome()


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
        async with world.worker(max_runs=3):
            await asyncio.sleep(chance.uniform(0, 0.06))
        if len(world.control.outcomes) == len(tasks):
            break
    async with world.worker(max_runs=3):
        outcomes = [await world.outcome(task_id) for task_id in tasks]
        await world.until(lambda: not list((world.folder / "runs").iterdir()))
    assert [one.judgement.state for one in outcomes] == [OutcomeState.SUCCEEDED] * 3
    assert sorted(world.starts) == [f"{task_id}-1" for task_id in tasks]
    for task_id in tasks:
        assert bytes(world.control.logs[task_id, "out"]).decode().splitlines() == list(lines)


class Faulty(FakeDriver):
    """Has a mistake of its own in one of its methods, as often as told."""

    def __init__(self, root, *, script, method, times) -> None:
        super().__init__(root, script=script)
        self.left = times
        sound = getattr(self, method)

        async def broken(*args, **kwargs):
            if self.left > 0:
                self.left -= 1
                raise TypeError("a mistake in the worker")
            return await sound(*args, **kwargs)

        setattr(self, method, broken)


@pytest.mark.parametrize("method", ["start", "wait", "logs", "stop"])
async def test_a_mistake_in_the_worker_fails_the_run_with_its_words(world, method):
    times = 1 if method == "stop" else 1 << 30
    world.driver = lambda: Faulty(world.folder / "runs", script=world.script, method=method, times=times)
    world.grant(script=FakeScript(outputs=TRAINED, log_lines=("one",), run_for_s=60 if method == "stop" else 0))
    async with world.worker() as (_, runs):
        if method == "stop":
            await world.until(lambda: any(one.state is RunState.RUNNING for one in world.control.reports))
            world.control.directives.append(Directive(1, DirectiveKind.CANCEL, "t1", 1))
        outcome = await world.outcome()
        await world.until(lambda: not runs.held())
    if method == "stop":
        assert outcome.judgement.state is OutcomeState.CANCELLED
        return
    assert outcome.judgement.state is OutcomeState.FAILED
    assert outcome.judgement.failure is FailureReason.WORKER
    assert "unexpected TypeError in the worker: a mistake in the worker" in outcome.judgement.message


async def test_a_mistake_in_harvesting_fails_the_run(world, monkeypatch):
    def harvest(*_args, **_kwargs):
        raise TypeError("no such argument")

    monkeypatch.setattr("lodeworks_worker.yielded.harvest", harvest)
    world.grant()
    world.grant("t2", script=FakeScript(code=3))
    async with world.worker() as (_, runs):
        outcome = await world.outcome()
        await world.outcome("t2")
        await world.until(lambda: not runs.held())
    assert outcome.judgement.failure is FailureReason.WORKER
    assert "no such argument" in outcome.judgement.message


async def test_an_outcome_that_cannot_be_told_drops_the_run(world):
    async def complete(*_args, **_kwargs):
        raise TypeError("no such field")

    world.control.complete = complete
    world.grant()
    async with world.worker() as (_, runs):
        await world.until(lambda: world.starts)
        await world.until(lambda: not runs.held())
        await world.until(lambda: not list((world.folder / "runs").iterdir()))
    assert not world.control.outcomes


async def test_a_journal_that_cannot_be_written_holds_a_run_up_and_does_not_lose_it(world, monkeypatch):
    monkeypatch.setattr("lodeworks_worker.held_run._AGAIN_S", 0.01)
    sound, failures = Journal.save, iter(range(3))

    async def save(self, entry):
        if entry.phase is RunPhase.STARTED and next(failures, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        await sound(self, entry)

    monkeypatch.setattr(Journal, "save", save)
    world.grant()
    async with world.worker():
        outcome = await world.outcome()
    assert outcome.judgement.state is OutcomeState.SUCCEEDED
    assert world.starts == ["t1-1"]


async def test_a_mistake_about_an_order_does_not_end_the_worker(world, monkeypatch):
    monkeypatch.setattr("lodeworks_worker.session._LONGEST_PAUSE_S", 0.01)
    sound, failures = Runs.cancel, iter(range(2))

    async def cancel(self, *args):
        if next(failures, None) is not None:
            raise TypeError("a mistake in the worker")
        await sound(self, *args)

    monkeypatch.setattr(Runs, "cancel", cancel)
    world.grant(script=FakeScript(outputs=TRAINED, run_for_s=60))
    async with world.worker():
        await world.until(lambda: any(one.state is RunState.RUNNING for one in world.control.reports))
        world.control.directives.append(Directive(1, DirectiveKind.CANCEL, "t1", 1))
        outcome = await world.outcome()
    assert len(world.control.registered) == 3
    assert outcome.judgement.state is OutcomeState.CANCELLED
    assert world.starts == ["t1-1"]


async def test_a_grant_that_comes_again_after_its_run_is_over_starts_nothing(world):
    grant = world.grant()
    async with world.worker() as (_, runs):
        await world.outcome()
        await world.until(lambda: not runs.held())
        assert not await runs.accept(grant)
    assert world.starts == ["t1-1"]
