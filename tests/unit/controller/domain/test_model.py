"""Versions of models, releases of algorithms and evaluations: who may become what."""

from datetime import UTC, datetime

import pytest
from lodeworks_controller.domain.algorithm import Release, ReleaseState, as_algorithm_name, check_algorithm_name
from lodeworks_controller.domain.evaluation import Evaluated, Evaluation, EvaluationState, Findings
from lodeworks_controller.domain.model import ModelState, ModelVersion, Stage, StageFile, Training
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TRAINING = Training("detector", "", "t", "train@1", "v", "val@1", 1)
VERSION = ModelVersion(
    "v1", "m1", "p1", "cells", 3, ModelState.CREATING, ("RBC",), TRAINING, created_by="u", created_at=NOW, task_id="t1"
)
BEST = Stage("best", (StageFile("best.onnx", "a" * 64, 1),), {"mAP": 0.8})
BARE = Stage("last", (StageFile("last.pt", "b" * 64, 1),))


def test_a_version_becomes_ready_once():
    ready = VERSION.ready([BEST, BARE], recommended="best")
    assert (ready.state, ready.stage().name, ready.stage("last").onnx) == (ModelState.READY, "best", None)
    assert ready.stage_name(BEST) == "cells@3:best"
    assert ready.recommend("last").stage().name == "last"
    with pytest.raises(ConflictError):
        ready.ready([BEST], recommended="best")


def test_what_cannot_be_used_says_why():
    with pytest.raises(ConflictError, match="still in training; wait for its task t1"):
        VERSION.stage()
    failed = VERSION.end_early([], recommended="", failure="its executor crashed")
    assert failed.state is ModelState.FAILED
    with pytest.raises(ConflictError, match="its executor crashed"):
        failed.stage()
    partial = VERSION.end_early([BARE], recommended="last", failure="cancelled")
    assert (partial.state, partial.stage().name) == (ModelState.PARTIAL, "last")
    with pytest.raises(NotFoundError, match="it has: last"):
        partial.stage("best")
    with pytest.raises(ConflictError, match=r"has no ONNX file \(it has: last.pt\)"):
        partial.stage_with_onnx()
    assert partial.again().state is ModelState.CREATING


def test_the_mean_ap_of_a_stage_has_one_of_several_names():
    assert BEST.map50 == 0.8
    assert BARE.map50 is None


def test_names_of_algorithms_stand_in_addresses():
    assert check_algorithm_name("cells-2.b_c") == "cells-2.b_c"
    for wrong in ("Cells", "a/b", "", "-a", "ä"):
        with pytest.raises(InvalidError):
            check_algorithm_name(wrong)
    assert as_algorithm_name("Blood Cells!") == "blood-cells"
    assert as_algorithm_name("…") == "algorithm"


def test_a_release_is_a_candidate_then_signed_and_never_changes():
    release = Release("r", "a", "p", "cells", 2, ReleaseState.CREATING, "cells@3:best", "v1", "u", NOW)
    with pytest.raises(ConflictError, match="devices accept signed releases only"):
        release.require_released()
    candidate = release.candidate([], report={}, report_digest="", card_digest="")
    signed = candidate.released(path="releases/p/cells/2.json", at=NOW)
    assert (signed.state, signed.repository_name) == (ReleaseState.RELEASED, "p/cells")
    signed.require_released()
    with pytest.raises(ConflictError):
        signed.candidate([], report={}, report_digest="", card_digest="")
    assert signed.fail("late").state is ReleaseState.RELEASED
    assert release.fail("guard").again().state is ReleaseState.CREATING


def test_an_evaluation_answers_only_when_it_is_ready():
    sides = Evaluated("v1", "cells@3:best", "", "d1", "test@1")
    made = Evaluation("e1", "p1", EvaluationState.CREATING, sides, "coco", "u", NOW, task_id="t1")
    with pytest.raises(ConflictError, match="wait for its task t1"):
        made.require_findings()
    ready = made.ready(Findings({}, "a", "b"), prediction_set_id="s1")
    assert ready.require_findings().match_table_digest == "a"
    assert ready.fail("late") is ready
    with pytest.raises(ConflictError, match="was never finished: oom"):
        made.fail("oom").require_findings()
