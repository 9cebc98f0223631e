"""Models from the wish to the version, on a real database and real blobs; the worker's runs are played."""

import json
from dataclasses import replace

import pytest
from dataset_world import box, picture
from lodeworks_controller.domain.evaluation import EvaluationState
from lodeworks_controller.domain.executor import Executor, ExecutorKind, ExecutorOperation
from lodeworks_controller.domain.model import ModelState
from lodeworks_controller.domain.task.state import FailureReason, TaskState
from lodeworks_controller.errors import BadOutputError, ConflictError, InvalidError, LodeworksError, NotFoundError
from lodeworks_controller.service.evaluation import BoxQuery, Outcome
from lodeworks_controller.service.measuring import InferWish
from lodeworks_controller.service.mining import MineWish
from lodeworks_controller.service.training import TrainWish
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_evaluation.evaluation import evaluate
from lodeworks_evaluation.match_table import write_match_table
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.segments import read_pictures, write_pictures, write_scores
from model_world import PROJECT, ModelWorld, stage_files


@pytest.fixture(scope="module")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await ModelWorld(tmp_path, pool).open()
    yield opened
    await opened.close()


async def wish(world, **more):
    values = {"train": "labelled", "val": "labelled", **more}
    return await world.part.training.train(world.administrator, PROJECT, TrainWish(**values))


async def test_a_training_makes_the_next_version_with_its_stages(world):
    await world.labelled()
    first = await world.trained()
    assert (first.full_name, first.state, first.recommended_stage) == ("cells@1", ModelState.READY, "best")
    assert first.stage().onnx.name == "best.onnx"
    assert first.stage().map50 == pytest.approx(0.8)
    second = await world.trained(from_stage="cells@1:best", class_names=("WBC",))
    assert (second.full_name, second.class_names) == ("cells@2", ("WBC",))
    assert second.training.from_stage == "cells@1:best"
    listed, newest = await world.part.models.get(world.administrator, PROJECT, "cells")
    assert (newest.full_name, listed.version_count) == ("cells@2", 2)


async def test_the_run_holds_views_settings_and_the_stage_to_start_from(world):
    await world.labelled()
    await world.trained()
    made = await wish(world, from_stage="cells", settings_yaml="epochs: 3\n")
    run = await world.kinds.get("train").prepare(await world.task(made.task_id))
    assert run.executor == "executor:detector"
    assert [one.role for one in run.inputs] == ["train", "val", "model/best/best.onnx", "model/best/best.pt"]
    assert "epochs: 3" in run.settings_yaml
    assert "export_format" not in run.settings_yaml
    view = list(read_pictures((await world.blobs.locate(run.inputs[0].digest)).path))
    assert {found.class_name for entry in view for found in entry.boxes} == {"RBC", "WBC"}


@pytest.mark.parametrize(
    ("more", "reason", "words"),
    [
        ({"settings_yaml": "epoch: 3"}, "SETTING_INVALID", "did you mean epochs"),
        ({"settings_yaml": "gpu_id: 0"}, "SETTING_RESERVED", "reserved are: class_names, code_config"),
        ({"settings_yaml": "batch_size: many"}, "SETTING_INVALID", "'batch_size' wants a whole number such as 8"),
        ({"settings_yaml": "- a"}, "SETTING_INVALID", "settings"),
        ({"class_names": ("RCB",)}, "CLASS_UNKNOWN", "did you mean RBC"),
        ({"class_names": ("Platelets",)}, "CLASS_UNKNOWN", "it has: RBC, WBC"),
        ({"train": "bare"}, "NOT_ANNOTATED", "bare@1 has no annotations"),
        ({"val": "bare"}, "NOT_ANNOTATED", "bare@1 has no annotations"),
        ({"train": "nothing"}, "VERSION_NOT_FOUND", "no dataset 'nothing'"),
        ({"train": ""}, "DATASET_MISSING", "name the dataset"),
        ({"executor": "detectr"}, "EXECUTOR_NOT_FOUND", "detector"),
        ({"executor": "infer"}, "EXECUTOR_CANNOT", "cannot train"),
        ({"from_stage": "cells@9"}, "MODEL_NOT_FOUND", "no model 'cells'"),
        ({"train": "reds"}, "CLASS_WITHOUT_PICTURES", "has WBC; leave it out with --class RBC"),
    ],
)
async def test_a_mistake_is_named_before_a_task_is_made(world, more, reason, words):
    await world.labelled()
    await world.labelled("reds", classes=("RBC",))
    await world.imported(PROJECT, "bare", [picture("bare", annotated=False)])
    with pytest.raises(LodeworksError) as raised:
        await wish(world, **more)
    assert raised.value.reason == reason
    assert words in raised.value.message
    async with world.store.snapshot() as tx:
        found = await tx.projects.find(PROJECT)
        assert not await tx.models.list(found.id, hidden=True, after_name="", limit=10)


async def test_a_dry_run_checks_and_makes_nothing(world):
    await world.labelled()
    made = await world.part.training.train(
        world.administrator, PROJECT, TrainWish("labelled", "labelled", settings_yaml="seed: 7"), dry_run=True
    )
    assert made.task_id == ""
    assert "seed: 7" in made.version.training.settings_yaml
    with pytest.raises(NotFoundError):
        await world.part.models.get(world.administrator, PROJECT, "cells")


async def test_a_repeated_wish_is_one_training(world):
    await world.labelled()
    service = world.part.training
    made = [
        await service.train(world.administrator, PROJECT, TrainWish("labelled", "labelled"), request_id="r1")
        for _ in range(2)
    ]
    assert made[0].version.id == made[1].version.id
    assert made[0].task_id == made[1].task_id


async def test_a_training_that_ended_early_leaves_a_partial_version_never_the_newest(world):
    await world.labelled()
    await world.trained()
    made = await wish(world)
    task = await world.task(made.task_id)
    outputs = await world.outputs(stage_files(("last.pt",), "early", stage="epoch_2"))
    async with world.store.transaction() as tx:
        left = await world.kinds.get("train").abandon(tx, task, outputs, FailureReason.CANCELLED)
    assert left.name == "cells@2"
    _, newest = await world.part.models.get(world.administrator, PROJECT, "cells")
    assert newest.full_name == "cells@1"
    _, partial = await world.part.models.get(world.administrator, PROJECT, "cells@2")
    assert (partial.state, partial.stage().name) == (ModelState.PARTIAL, "epoch_2")
    # Tried again, it is in the making, and READY at the end.
    await world.kinds.get("train").prepare(task)
    await world.finish(task, await world.outputs(stage_files(("best.onnx",), "again")))
    _, newest = await world.part.models.get(world.administrator, PROJECT, "cells")
    assert newest.full_name == "cells@2"


async def test_a_model_without_a_ready_version_says_what_it_has(world):
    await world.labelled()
    await wish(world)
    with pytest.raises(NotFoundError, match=r"no version that is ready; it has: cells@1 \(creating\)"):
        await world.part.models.get(world.administrator, PROJECT, "cells")


async def test_a_training_without_any_stage_failed(world):
    await world.labelled()
    made = await wish(world)
    task = await world.task(made.task_id)
    with pytest.raises(BadOutputError):
        await world.kinds.get("train").finish(task, ())
    lying = stage_files(("best.onnx",), "lying")
    lying.pop("stage/best/best.onnx")
    with pytest.raises(BadOutputError, match="which did not come back"):
        await world.kinds.get("train").finish(task, await world.outputs(lying))
    async with world.store.transaction() as tx:
        assert await world.kinds.get("train").abandon(tx, task, (), FailureReason.USER) is None
    with pytest.raises(ConflictError, match="was never finished"):
        await world.part.measuring.infer(world.administrator, PROJECT, InferWish("cells@1", "labelled"))


async def test_names_recommend_rename_delete(world):
    await world.labelled()
    version = await world.trained()
    models, who = world.part.models, world.administrator
    with pytest.raises(NotFoundError, match=r"it has: best"):
        await models.recommend(who, PROJECT, "cells@1:last")
    assert (await models.recommend(who, PROJECT, "cells@1:best")).recommended_stage == "best"
    renamed = await models.rename(who, PROJECT, "cells", new_name="Blood")
    assert renamed.latest.full_name == "Blood@1"
    with pytest.raises(NotFoundError, match="did you mean Blood"):
        await models.get(who, PROJECT, "bloot")
    await models.delete(who, PROJECT, "Blood")
    with pytest.raises(NotFoundError):
        await models.get(who, PROJECT, version.id)
    assert (await world.trained(name="Blood")).full_name == "Blood@1"


async def predicted(world, task, *, score=0.9):
    """Plays the built-in infer: finds every box, one of them moved."""
    run = await world.kinds.get("infer").prepare(task)
    view = list(read_pictures((await world.blobs.locate(run.inputs[0].digest)).path))
    path = world.root / f"{task.id}.predictions"
    found = [box("RBC", score=score), box("WBC", x=70, score=0.4), box("WBC", x=300, score=0.3)]
    write_pictures(
        path,
        [picture_with(entry, found) for entry in view],
        kind="predictions",
    )
    outputs = await world.outputs({"predictions": path.read_bytes()})
    return await world.finish(task, outputs)


def picture_with(entry, found):
    return replace(entry, boxes=None, predictions=tuple(found))


async def test_an_evaluation_infers_once_and_answers_every_threshold(world):
    await world.labelled()
    await world.labelled("test", count=3)
    await world.trained()
    who = world.administrator
    evaluation = await world.part.measuring.evaluate(who, PROJECT, InferWish("cells", "test"))
    task = await world.task(evaluation.task_id)
    assert task.state is TaskState.BLOCKED
    async with world.store.snapshot() as tx:
        infer = await tx.tasks.get((await tx.tasks.parents(task.id))[0])
    assert infer.kind == "infer"
    made = await predicted(world, infer)
    assert made.type == "prediction_set"
    await run_evaluate(world, task)
    done = await world.part.evaluations.get(who, PROJECT, evaluation.id)
    assert done.state is EvaluationState.READY
    assert done.sides.model_name == "cells@1:best"
    counts = await world.part.evaluations.counts(done, iou=0.5, conf=0.35)
    assert (counts.total.tp, counts.total.fp, counts.total.fn) == (6, 0, 0)
    counts = await world.part.evaluations.counts(done, iou=0.5, conf=0.25)
    assert counts.by_class["WBC"].fp == 3
    best = {one.class_name: one.conf for one in await world.part.evaluations.best_thresholds(done, iou=0.5)}
    assert best == {"RBC": pytest.approx(0.9), "WBC": pytest.approx(0.4)}
    curve = await world.part.evaluations.curve(done, iou=0.5, class_name="WBC", most_points=10)
    assert [round(conf, 3) for conf, _, _ in curve] == [0.4, 0.3]
    labels, rows = await world.part.evaluations.confusion(done, iou=0.5, conf=0.25)
    assert labels[-1] == "background"
    assert rows[2][1] == 3
    query = BoxQuery(Outcome.FP, "WBC", 0.5, 0.25, start=1, limit=1)
    page = await world.part.evaluations.boxes(done, query)
    assert (page.total, len(page.boxes), page.boxes[0].x) == (3, 1, 300)
    with pytest.raises(InvalidError, match=r"IoU 0.3 was not matched"):
        await world.part.evaluations.counts(done, iou=0.3, conf=0.5)
    # A second evaluation finds the predictions there.
    again = await world.part.measuring.evaluate(who, PROJECT, InferWish("cells", "test"), protocol="ymir")
    assert (await world.task(again.task_id)).state is TaskState.QUEUED
    assert [one.id for one in await world.part.evaluations.list(who, PROJECT, model="cells", dataset="test")] == [
        again.id,
        evaluation.id,
    ]


async def run_evaluate(world, task):
    """Plays the built-in evaluate on the run that the controller built."""
    run = await world.kinds.get("evaluate").prepare(task)
    inputs = {one.role: (await world.blobs.locate(one.digest)).path for one in run.inputs}
    assert json.loads(inputs["options"].read_bytes())["class_names"] == ["RBC", "WBC"]
    view = list(read_pictures(inputs["view"]))
    given = {entry.digest: entry.predictions for entry in read_pictures(inputs["predictions"])}
    result = evaluate(view, given, class_names=run.class_names)
    table = world.root / "table"
    write_match_table(table, result.match_table)
    outputs = {
        "summary": canonical_json(result.summary()),
        "match_table": table.read_bytes(),
        "report_html": b"<!doctype html>",
    }
    return await world.finish(task, await world.outputs(outputs))


async def test_an_evaluation_on_what_the_model_was_chosen_on_warns(world):
    await world.labelled()
    await world.trained()
    evaluation = await world.part.measuring.evaluate(world.administrator, PROJECT, InferWish("cells", "labelled"))
    assert "trained on" in evaluation.warnings[0]


async def test_without_onnx_there_is_no_inference(world):
    await world.labelled()
    await world.trained(files=("best.pt",))
    with pytest.raises(ConflictError, match=r"has no ONNX file \(it has: best.pt\)"):
        await world.part.measuring.infer(world.administrator, PROJECT, InferWish("cells", "labelled"))


async def test_an_executor_of_masks_is_told_so_whatever_it_does(world):
    await world.labelled()
    version = await world.trained(files=("best.pt",))
    templates = {ExecutorOperation.MINE: "", ExecutorOperation.INFER: ""}
    masks = Executor(world.ids(), "masks", ExecutorKind.PROCESS, templates, world.clock(), object_type=4)
    async with world.store.transaction() as tx:
        await tx.executors.insert(masks)
    who = world.administrator
    wish = InferWish(version.full_name, "labelled", executor="masks")
    inferring = await world.task(await world.part.measuring.infer(who, PROJECT, wish))
    chosen = MineWish("labelled", 3, model=version.full_name, executor="masks", to="chosen")
    mining = await world.task((await world.part.mining.mine(who, PROJECT, chosen)).task_id)
    for task in (inferring, mining):
        assert (await world.kinds.get(task.kind).prepare(task)).object_type == 4


async def test_a_failed_evaluation_says_so(world):
    await world.labelled()
    await world.trained()
    evaluation = await world.part.measuring.evaluate(world.administrator, PROJECT, InferWish("cells", "labelled"))
    task = await world.task(evaluation.task_id)
    async with world.store.transaction() as tx:
        await world.kinds.get("evaluate").abandon(tx, task, (), FailureReason.OOM)
    failed = await world.part.evaluations.get(world.administrator, PROJECT, evaluation.id)
    assert failed.state is EvaluationState.FAILED
    with pytest.raises(ConflictError, match="was never finished"):
        await world.part.evaluations.counts(failed, iou=0.5, conf=0.5)


async def test_mining_takes_the_best_and_equal_ones_by_digest(world):
    await world.labelled()
    await world.trained()
    pool = [picture(f"pool-{seed}", annotated=False) for seed in range(6)]
    await world.imported(PROJECT, "pool", pool)
    version = await world.part.mining.mine(
        world.administrator, PROJECT, MineWish("pool", 3, model="cells", to="chosen")
    )
    assert version.full_name == "chosen@1"
    task = await world.task(version.task_id)
    run = await world.kinds.get("mine").prepare(task)
    assert [one.role for one in run.inputs] == ["candidate", "model/best.onnx", "options"]
    digests = sorted(entry.digest for entry in pool)
    path = world.root / "scores"
    write_scores(path, [(digest, 1.0 if digest == digests[-1] else 0.5) for digest in digests])
    made = await world.finish(task, await world.outputs({"scores": path.read_bytes()}))
    assert made.name == "chosen@1"
    chosen = {entry.digest for entry in await world.pictures(PROJECT, "chosen")}
    assert chosen == {digests[-1], digests[0], digests[1]}


async def test_mining_more_than_there_are_is_an_answer_and_strangers_are_not(world):
    await world.labelled()
    pool = [picture(f"pool-{seed}", annotated=False) for seed in range(2)]
    await world.imported(PROJECT, "pool", pool)
    version = await world.part.mining.mine(world.administrator, PROJECT, MineWish("pool", 10))
    assert version.full_name == "pool@2"
    task = await world.task(version.task_id)
    path = world.root / "scores"
    write_scores(path, [(entry.digest, 0.5) for entry in pool] + [("ab" * 32, 0.9)])
    with pytest.raises(BadOutputError, match=r"1 of the scored pictures are not in the dataset"):
        await world.kinds.get("mine").finish(task, await world.outputs({"scores": path.read_bytes()}))
    write_scores(path, [(entry.digest, 0.5) for entry in pool])
    await world.finish(task, await world.outputs({"scores": path.read_bytes()}))
    assert len(await world.pictures(PROJECT, "pool@2")) == 2
    with pytest.raises(InvalidError, match="needs a model"):
        await world.part.mining.mine(world.administrator, PROJECT, MineWish("pool", 1, strategy="entropy"))
    with pytest.raises(InvalidError, match="at least 1"):
        await world.part.mining.mine(world.administrator, PROJECT, MineWish("pool", 0))
