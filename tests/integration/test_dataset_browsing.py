"""Pictures chosen by what a model says of them, and their thumbnails, from the service down to the files."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curation_world import CurationWorld
from dataset_world import box, picture
from lodeworks_controller.domain.curation import TagChange
from lodeworks_controller.domain.operation import Filter, Sample, Split
from lodeworks_controller.domain.outcome import HasPrediction, Outcome, PredictionFilter
from lodeworks_controller.domain.task.run import Output
from lodeworks_controller.errors import BadOutputError, ConflictError, InvalidError, NotFoundError
from lodeworks_controller.service.content_scope import task_scope
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_formats.segments import SHRUNK_SCHEMA, read_pictures

TP, FP, FN = Outcome.TRUE_POSITIVE, Outcome.FALSE_POSITIVE, Outcome.FALSE_NEGATIVE
CAME = [
    picture(1, box("RBC"), box("WBC", x=300), predictions=(box("RBC", x=12, score=0.9), box("WBC", x=300, score=0.2))),
    picture(2, box("RBC"), predictions=()),
    picture(3, predictions=(box("WBC", score=0.4),)),
    picture(4, annotated=False, predictions=(box("RBC", score=0.8),)),
    picture(5, box("red"), predictions=(box("WBC", score=0.6),)),
    picture(6, box("RBC")),
]
NUMBER = {picture(number).digest: number for number in range(1, 12)}


@pytest.fixture(scope="session")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await CurationWorld(tmp_path, pool).open()
    await opened.project()
    await opened.classes.set_aliases(opened.administrator, "cells", "RBC", add=["red"])
    await opened.imported("cells", "labelled", CAME)
    yield opened
    await opened.close()


def asking(*outcomes, classes=(), prediction_set="", **more):
    return Filter(predictions=PredictionFilter(prediction_set, HasPrediction(tuple(classes), outcomes, **more)))


async def shown(world, which, dataset="labelled", **more):
    page = await world.datasets.page(world.administrator, "cells", dataset, which=which, **more)
    return [NUMBER[entry.digest] for _, entry in page.pictures]


BY_OUTCOME = [
    (asking(), [1, 3, 4, 5]),
    (asking(TP), [1]),
    (asking(FP), [3, 5]),
    (asking(FN), [2, 5, 6]),
    (asking(FP, FN), [2, 3, 5, 6]),
    (asking(FN, classes=["WBC"]), []),
    (asking(FN, classes=["WBC"], min_score=0.3), [1]),
    (asking(TP, classes=["rbc"]), [1]),
    (asking(classes=["WBC"], max_score=0.5), [1, 3]),
    (asking(FP, min_score=0.5), [5]),
    (asking(TP, classes=["RBC"], iou=0.95), []),
    (asking(FP, classes=["RBC"], iou=0.95), [1]),
]


async def test_pictures_by_what_a_model_says(world):
    for which, expected in BY_OUTCOME:
        assert await shown(world, which) == expected, which
        filtered = await world.operations.filter(world.administrator, "cells", "labelled", which=which, dry_run=True)
        assert filtered.version.content.statistics.pictures == len(expected), which


async def test_a_page_says_of_each_box_what_became_of_it(world):
    ada = world.administrator
    page = await world.datasets.page(ada, "cells", "labelled", which=asking(min_score=0.3))
    by_number = {NUMBER[entry.digest]: page.outcomes[aid] for aid, entry in page.pictures}
    assert (by_number[1].boxes, by_number[1].predictions) == ((TP, FN), (TP, None))
    assert (by_number[4].boxes, by_number[4].predictions) == ((), (None,))
    assert (by_number[5].boxes, by_number[5].predictions) == ((FN,), (FP,))
    plain = await world.datasets.page(ada, "cells", "labelled")
    assert plain.outcomes == plain.thumbnails == {}


async def test_a_version_records_which_set_it_was_filtered_by_and_a_later_one_finds_it(world):
    ada = world.administrator
    made = await world.operations.filter(ada, "cells", "labelled", which=asking(FN), to="missed")
    (only,) = await world.predictions.list(ada, "cells", "labelled")
    recorded = made.version.making.parameters["predictions"]
    assert (recorded["prediction_set"], recorded["outcomes"]) == (only.id, ["fn"])
    # The sample has no predictions of its own: those of the version that it came from hold for its pictures.
    await world.operations.sample(ada, "cells", "missed", sample=Sample(count=3), to="some")
    assert await shown(world, asking(FP), "some") == [5]
    assert await shown(world, asking(FP, prediction_set=only.model_name), "some") == [5]
    tagged = await world.curation.tag(ada, "cells", "some", change=TagChange(add=("odd",)), which=asking(FP))
    assert await shown(world, Filter(tags=("odd",)), tagged.version.full_name) == [5]


async def test_an_outcome_pages_and_combines_with_what_is_known_of_the_picture(world):
    both = Filter(classes=("RBC",), predictions=asking(FN).predictions)
    first = await world.datasets.page(world.administrator, "cells", "labelled", which=both, limit=2)
    rest = await world.datasets.page(
        world.administrator, "cells", "labelled", which=both, limit=2, after_aid=first.after_aid
    )
    assert [NUMBER[entry.digest] for _, entry in (*first.pictures, *rest.pictures)] == [2, 5, 6]
    assert rest.after_aid is None


async def test_questions_that_cannot_be_are_refused(world):
    for which, wrong in (
        (asking(iou=0.52), "iou is 0.52; give one of 0.5, 0.55"),
        (asking(min_score=1.5), "min_score is 1.5"),
        (asking(min_score=0.6, max_score=0.5), "above max_score"),
    ):
        with pytest.raises(InvalidError, match=wrong):
            await shown(world, which)


async def test_who_asks_what_nobody_predicted_is_told_what_to_do(world):
    await world.imported("cells", "bare", [picture(9, box("RBC"))])
    with pytest.raises(NotFoundError, match="no predictions for bare@1; make one with `lode model infer"):
        await shown(world, asking(FP), "bare")
    with pytest.raises(NotFoundError, match="no prediction set 'yolo' for labelled@1"):
        await shown(world, asking(FP, prediction_set="yolo"))


async def test_who_copied_a_public_dataset_is_not_shown_the_predictions_of_its_project(world):
    bob = await world.person("bob")
    await world.projects.create(bob, "bobs", class_names=("RBC", "WBC"))
    await world.sharing.publish(world.administrator, "cells", "labelled", public=True)
    await world.operations.copy(bob, "bobs", "labelled", source_project="cells", to="mine")
    (theirs,) = await world.predictions.list(world.administrator, "cells", "labelled")
    for named in ("", theirs.id, theirs.model_name):
        with pytest.raises(NotFoundError, match="for mine@1"):
            await world.datasets.page(bob, "bobs", "mine", which=asking(prediction_set=named))


async def test_a_split_keeps_what_looks_alike_together_and_gives_each_class_its_share(world):
    ada = world.administrator
    came = [picture(f"s{n}", box("WBC" if n % 10 == 0 else "RBC")) for n in range(40)]
    await world.imported("cells", "pool", came)
    parts = Split({"train": 75, "val": 25}, stratified=True, distance=3)
    with pytest.raises(ConflictError, match="40 pictures were not measured") as refused:
        await world.operations.split(ada, "cells", "pool", split=parts)
    assert refused.value.reason == "SIGNALS_MISSING"
    # Neighbours look alike, two by two: every second hash differs from the one before in one bit.
    spread = 0x9E3779B97F4A7C15
    hashes = {entry.digest: ((n // 2 + 1) * spread % 2**64 & ~1) | n % 2 for n, entry in enumerate(came)}
    await world.measured("cells", "pool", hashes)

    train, val = await world.operations.split(ada, "cells", "pool", split=parts, seed=3)

    held = [{entry.digest for entry in await world.pictures("cells", part.version.full_name)} for part in (train, val)]
    assert not held[0] & held[1]
    assert (len(held[0]), len(held[1])) == (30, 10)
    for first, second in zip(came[::2], came[1::2], strict=True):
        assert (first.digest in held[0]) == (second.digest in held[0])
    leaks = (await world.curation.leaks(ada, "cells", ["train", "val"], distance=3))[1]
    assert (leaks.counts[0].identical, leaks.counts[0].alike) == (0, 0)
    assert train.version.making.parameters == {
        "shares": {"train": 75, "val": 25},
        "stratified": True,
        "distance": 3,
        "part": "train",
    }
    drawn = await world.operations.sample(ada, "cells", "pool", sample=Sample(count=10), stratified=True, to="few")
    whites = [one for one in await world.pictures("cells", drawn.version.full_name) if one.boxes[0].class_name == "WBC"]
    assert len(whites) == 1


async def shrink(world, task, numbers):
    """Plays the worker: stores thumbnails of pictures in the task's scope."""
    small = {picture(number).digest: f"small {number}".encode() for number in numbers}
    stored = {digest: (await world.blobs.put_bytes(data)).digest for digest, data in small.items()}
    path = world.root / "shrunk.parquet"
    rows = sorted(stored.items())
    columns = [
        pa.array([bytes.fromhex(one) for one, _ in rows], pa.binary(32)),
        pa.array([bytes.fromhex(other) for _, other in rows], pa.binary(32)),
    ]
    pq.write_table(pa.table(columns, schema=SHRUNK_SCHEMA), path)
    told = await world.blobs.put_file(path)
    async with world.store.transaction() as tx:
        await tx.blobs.reference(task_scope(task.id), [told.digest, *stored.values()])
    return (Output("thumbnails", told.digest, told.size_bytes),), stored


async def test_thumbnails_are_made_once_and_go_with_the_pictures(world):
    ada = world.administrator
    chosen = [picture(number).digest for number in (1, 2)]
    started = await world.thumbnails.make(ada, "cells", ["labelled"], digests=chosen, request_id="r")
    assert started.pictures == 2
    again = await world.thumbnails.make(ada, "cells", ["labelled"], digests=chosen, request_id="r")
    assert again.task_id == started.task_id
    task = await world.task_service.get(ada, started.task_id)
    run = await world.kinds.get("thumbnails").prepare(task)
    view = (await world.blobs.locate(run.inputs[0].digest)).path
    assert {NUMBER[entry.digest] for entry in read_pictures(view)} == {1, 2}

    outputs, stored = await shrink(world, task, [1, 2])
    await world.finish(task, outputs)

    page = await world.datasets.page(ada, "cells", "labelled", thumbnails=True)
    named = {NUMBER[entry.digest]: page.thumbnails.get(aid) for aid, entry in page.pictures}
    assert named == {1: stored[chosen[0]], 2: stored[chosen[1]], 3: None, 4: None, 5: None, 6: None}
    assert (await world.thumbnails.make(ada, "cells", ["labelled"], digests=chosen)).task_id == ""
    assert (await world.thumbnails.make(ada, "cells", ["labelled"])).pictures == 4
    # A copy has them at once, for its own people too.
    await world.project("elsewhere")
    await world.operations.copy(ada, "elsewhere", "labelled", source_project="cells", to="copied")
    assert await world.readable("elsewhere", list(stored.values())) == set()
    await world.thumbnails.make(ada, "elsewhere", ["copied"])
    assert await world.readable("elsewhere", list(stored.values())) == set(stored.values())


async def test_a_worker_cannot_name_thumbnails_that_it_did_not_bring(world):
    ada = world.administrator
    started = await world.thumbnails.make(ada, "cells", ["labelled"])
    task = await world.task_service.get(ada, started.task_id)
    outputs, stored = await shrink(world, task, [1, 9])
    with pytest.raises(BadOutputError, match="one that is not in the dataset"):
        await world.finish(task, outputs)
    outputs, stored = await shrink(world, task, [3])
    async with world.store.transaction() as tx:
        await tx.blobs.release(task_scope(task.id), list(stored.values()))
    with pytest.raises(BadOutputError, match="was named and not uploaded"):
        await world.finish(task, outputs)


async def test_thumbnails_of_pictures_that_only_a_deleted_version_had_are_let_go(world):
    ada = world.administrator
    task = await world.task_service.get(ada, (await world.thumbnails.make(ada, "cells", ["labelled"])).task_id)
    outputs, stored = await shrink(world, task, range(1, 7))
    await world.finish(task, outputs)
    await world.operations.filter(ada, "cells", "labelled", which=Filter(classes=("WBC",)), to="white")
    await world.datasets.delete(ada, "cells", "labelled")
    world.now = world.now.replace(year=world.now.year + 1)

    assert await world.release.run() == 1

    kept = stored[picture(1).digest]
    assert await world.readable("cells", list(stored.values())) == {kept}
    assert hashlib.sha256(await world.blobs.read(kept)).hexdigest() == kept


async def test_wishes_for_thumbnails_that_cannot_be_are_refused(world):
    for wrong in (["labelled"], ["ab" * 32] * 1001):
        with pytest.raises(InvalidError):
            await world.thumbnails.make(world.administrator, "cells", ["labelled"], digests=wrong)
    with pytest.raises(NotFoundError):
        await world.thumbnails.make(world.administrator, "cells", ["nothing"])
