from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lodeworks_device.reasons import Reason
from lodeworks_device.states import MOST_TRANSITIONS, WORKING, AlgorithmState, Goal, Phase, Version, Wanted

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = datetime(2026, 3, 2, tzinfo=UTC)
WAY = (Phase.PREFLIGHT, Phase.FETCHING, Phase.VERIFIED, Phase.STAGED, Phase.STARTING, Phase.GATING)


def wanted(number=1, *, generation=1, goal=Goal.RUNNING, confidence=None):
    return Wanted("cells", Version(f"{number:064x}", f"cells@{number}"), goal, generation, confidence)


def along(state, *, to=Phase.GATING):
    for phase in WAY:
        if state.phase is to:
            break
        trial = {"trial": state.wanted.version} if phase is Phase.FETCHING else {}
        state = state.move(phase, at=AT, **trial)
    return state


def committed(number=1):
    return along(AlgorithmState.begin(wanted(number), at=AT)).commit({"ok": True}, at=AT)


def test_the_whole_way():
    state = AlgorithmState.begin(wanted(), at=AT)
    assert state.phase is Phase.ACCEPTED
    assert state.served is None
    gating = along(state)
    assert (gating.phase, gating.served, gating.alive) == (Phase.GATING, None, (gating.trial,))
    done = gating.commit({"ok": True}, at=LATER)
    assert (done.phase, done.committed, done.trial, done.since_at) == (Phase.COMMITTED, wanted().version, None, LATER)
    assert done.served == done.committed


def test_the_old_version_serves_until_the_new_one_is_proven():
    old = committed()
    new = old.want(wanted(2, generation=2), at=AT)
    assert (new.phase, new.served) == (Phase.ACCEPTED, old.committed)
    gating = along(new)
    assert gating.alive == (old.committed, gating.trial)
    done = gating.commit({}, at=AT)
    assert (done.committed.release, done.previous.release) == ("cells@2", "cells@1")
    assert done.pinned == {done.committed.package_id, done.previous.package_id}


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.GATING])
def test_a_trial_that_fails_is_rolled_back(phase):
    state = along(committed().want(wanted(2, generation=2), at=AT), to=phase)
    failed = state.fail(Reason.GATE_ACCURACY, "wrong", at=AT)
    assert (failed.phase, failed.served.release, failed.alive) == (
        Phase.ROLLING_BACK,
        "cells@1",
        (failed.committed,),
    )
    back = failed.rolled_back(at=AT)
    assert (back.phase, back.reason, back.message, back.trial) == (
        Phase.ROLLED_BACK,
        Reason.GATE_ACCURACY,
        "wrong",
        None,
    )
    assert back.wanted.version.release == "cells@2"


def test_what_fails_before_it_ran_or_without_a_version_before_just_fails():
    fetching = along(committed().want(wanted(2, generation=2), at=AT), to=Phase.FETCHING)
    assert fetching.fail(Reason.DISK_FULL, "", at=AT).phase is Phase.FAILED
    first = along(AlgorithmState.begin(wanted(), at=AT))
    failed = first.fail(Reason.CRASHED, "", at=AT)
    assert (failed.phase, failed.alive, failed.served) == (Phase.FAILED, (), None)


def test_a_refusal_stands_until_the_next_generation():
    state = along(AlgorithmState.begin(wanted(), at=AT)).fail(Reason.CRASHED, "it fell", at=AT)
    again = state.want(wanted(generation=2), at=LATER)
    assert (again.phase, again.reason, again.message) == (Phase.ACCEPTED, None, "")


def test_a_generation_that_changes_other_things_goes_on_with_the_way():
    gating = along(AlgorithmState.begin(wanted(), at=AT))
    same = gating.want(wanted(generation=2, confidence=0.4), at=LATER)
    assert (same.phase, same.since_at, same.trial) == (Phase.GATING, AT, gating.trial)
    assert same.wanted.confidence == 0.4
    done = committed().want(wanted(generation=2, confidence=0.4), at=LATER)
    assert (done.phase, done.wanted.confidence) == (Phase.COMMITTED, 0.4)


def test_another_wish_ends_the_way():
    gating = along(committed().want(wanted(2, generation=2), at=AT))
    other = gating.want(wanted(3, generation=3), at=AT)
    assert (other.phase, other.trial, other.attempts) == (Phase.ACCEPTED, None, 0)
    back = gating.want(wanted(1, generation=3), at=AT)
    assert (back.phase, back.trial) == (Phase.COMMITTED, None)


def test_stop_and_start():
    stopped = committed().want(wanted(generation=2, goal=Goal.STOPPED), at=AT)
    assert (stopped.phase, stopped.served, stopped.alive) == (Phase.IDLE, None, ())
    assert stopped.committed is not None
    started = stopped.want(wanted(generation=3), at=AT)
    assert (started.phase, started.served) == (Phase.STARTING, stopped.committed)
    assert started.move(Phase.COMMITTED, at=AT).phase is Phase.COMMITTED


def test_the_same_package_under_another_release_is_committed_at_once():
    other = Wanted("cells", Version(f"{1:064x}", "cells@9"), Goal.RUNNING, 2)
    state = committed().want(other, at=AT)
    assert (state.phase, state.committed.release) == (Phase.COMMITTED, "cells@9")


def test_a_trial_found_dead_is_tried_once_more():
    starting = along(AlgorithmState.begin(wanted(), at=AT))
    once = starting.die("gone", at=AT)
    assert (once.phase, once.trial) == (Phase.STARTING, starting.trial)
    assert once.die("gone", at=AT).reason is Reason.CRASHED


def test_a_committed_version_that_keeps_crashing_gives_way_once():
    new = along(committed().want(wanted(2, generation=2), at=AT)).commit({}, at=AT)
    back = new.revert("it crashed", at=LATER)
    assert (back.phase, back.committed.release, back.previous, back.reverted) == (
        Phase.ROLLED_BACK,
        "cells@1",
        None,
        True,
    )


def test_the_loop_breaker_ends_a_way_that_leads_nowhere():
    state = along(AlgorithmState.begin(wanted(), at=AT), to=Phase.STARTING)
    for _ in range(2 * MOST_TRANSITIONS):
        state = state.move(Phase.GATING, at=AT)
        if state.phase is Phase.FAILED:
            break
        state = AlgorithmState(
            state.name, state.wanted, Phase.STARTING, AT, trial=state.trial, transitions=state.transitions
        )
    assert state.reason is Reason.LOOP


def test_no_phase_is_skipped():
    state = AlgorithmState.begin(wanted(), at=AT)
    with pytest.raises(ValueError, match="cannot go"):
        state.move(Phase.COMMITTED, at=AT)


def worked(state, step, proven):
    """Does what the agent may do in a phase: a step on, or one of the ways in which it goes wrong."""
    if state.phase is Phase.ROLLING_BACK:
        return state.rolled_back(at=AT)
    if step == "fail":
        return state.fail(Reason.CRASHED, "", at=AT)
    if step == "die" and state.trial and state.phase in {Phase.STARTING, Phase.GATING}:
        return state.die("", at=AT)
    if state.phase is Phase.GATING:
        proven.add(state.trial.package_id)
        return state.commit({}, at=AT)
    if state.phase is Phase.STARTING and state.trial is None:
        return state.move(Phase.COMMITTED, at=AT)
    to = WAY[WAY.index(state.phase) + 1] if state.phase in WAY else Phase.PREFLIGHT
    return state.move(to, at=AT, **({"trial": state.wanted.version} if to is Phase.FETCHING else {}))


STEPS = st.lists(st.sampled_from(["step", "step", "step", "fail", "die", "run 1", "run 2", "stop 1", "stop 2"]))


@given(STEPS)
def test_whatever_happens_what_serves_was_proven(steps):
    state, generation, proven = AlgorithmState.begin(wanted(), at=AT), 1, set()
    for step in steps:
        if step[:3] in {"run", "sto"}:
            generation += 1
            goal = Goal.RUNNING if step.startswith("run") else Goal.STOPPED
            state = state.want(wanted(int(step[-1]), generation=generation, goal=goal), at=AT)
        elif state.phase in WORKING:
            state = worked(state, step, proven)
        assert state.served is None or state.served.package_id in proven
        assert state.committed is None or state.committed.package_id in state.pinned
        assert state.phase is not Phase.COMMITTED or state.committed.package_id == state.wanted.version.package_id
