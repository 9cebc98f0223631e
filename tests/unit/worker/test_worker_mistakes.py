"""Mistakes in the worker itself end a run with their words, and never the worker."""

import sqlite3

import pytest
from lodeworks_worker.control_plane import Directive, DirectiveKind, RunState
from lodeworks_worker.drivers.fake import FakeDriver, FakeScript
from lodeworks_worker.journal import Journal, RunPhase
from lodeworks_worker.outcome import FailureReason, OutcomeState
from lodeworks_worker.runs import Runs
from one_machine import TRAINED, OneMachine


@pytest.fixture
def world(tmp_path):
    return OneMachine(tmp_path)


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
