"""Runs from grant to confirmed outcome."""

import pytest
from lodeworks_worker.control_plane import Directive, DirectiveKind, RunState
from lodeworks_worker.drivers.fake import FakeScript
from lodeworks_worker.grant import Input, Limits
from lodeworks_worker.outcome import FailureReason, OutcomeState
from one_machine import TRAINED, OneMachine


@pytest.fixture
def world(tmp_path):
    return OneMachine(tmp_path)


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
        await world.until(lambda: b"asked to end" in world.control.logs.get(("t1", "worker"), b""))
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


async def test_a_full_worker_takes_no_more(world):
    for number in range(4):
        world.grant(f"t{number}", script=FakeScript(outputs=TRAINED, run_for_s=0.3))
    async with world.worker(max_runs=2):
        await world.until(lambda: len(world.starts) == 2)
        await world.more_polls()
        assert len(world.starts) == 2
        for number in range(4):
            await world.outcome(f"t{number}")


async def test_a_draining_worker_finishes_and_takes_no_more(world):
    world.control.directives.append(Directive(1, DirectiveKind.DRAIN))
    async with world.worker():
        await world.until(lambda: world.control.reports is not None and world.control.registered)
        await world.more_polls()
        world.grant()
        await world.more_polls()
        assert not world.starts
        world.control.directives.append(Directive(2, DirectiveKind.UNDRAIN))
        await world.outcome()
