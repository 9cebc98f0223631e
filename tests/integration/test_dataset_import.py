"""Imports end to end inside the controller: checked, numbered, made visible at once, reported."""

import json
from dataclasses import replace

import pytest
from dataset_world import DatasetWorld, box, picture, report_of
from lodeworks_controller.domain.task.state import FailureReason
from lodeworks_controller.errors import BadOutputError, ConflictError, InvalidError, NotFoundError, UnavailableError
from lodeworks_controller.service.import_wish import ImportSource, ImportWish
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_formats.task_inputs import IngestOptions


@pytest.fixture(scope="session")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await DatasetWorld(tmp_path, pool).open()
    yield opened
    await opened.close()


async def test_an_import_becomes_a_version_with_all_that_came(world):
    await world.project()
    came = [
        picture(1, box("RBC", 1, 2, 3, 4), box("WBC"), tags=("night",)),
        picture(2),
        picture(3, annotated=False),
        picture(4, box("rbc", 5.5, 6.25, 7, 8, difficult=True, tags=("blurred",), attributes={"side": "left"})),
    ]

    name = await world.imported("cells", "labelled", came)

    assert name == "labelled@1"
    found = {entry.digest: entry for entry in await world.pictures("cells", "labelled")}
    assert found.keys() == {entry.digest for entry in came}
    assert found[came[0].digest].boxes == came[0].boxes
    assert found[came[0].digest].tags == ("night",)
    assert found[came[1].digest].boxes == ()
    assert found[came[2].digest].boxes is None
    (kept,) = found[came[3].digest].boxes
    assert (kept.class_name, kept.x, kept.y, kept.difficult) == ("RBC", 5.5, 6.25, True)
    assert (kept.tags, kept.attributes) == (("blurred",), {"side": "left"})
    assert found[came[0].digest].names == ("1.jpg",)


async def test_figures_follow_the_class_map_of_now(world):
    await world.project()
    came = [picture(1, box("RBC"), box("rbc"), box("WBC")), picture(2, box("rbc")), picture(3)]
    await world.imported("cells", "labelled", came)

    before = await world.datasets.stats(world.administrator, "cells", "labelled")
    await world.classes.merge(world.administrator, "cells", ["WBC"], into="RBC")
    after = await world.datasets.stats(world.administrator, "cells", "labelled")

    assert [(c.class_name, c.boxes, c.pictures, c.negative_pictures) for c in before.classes] == [
        ("RBC", 3, 2, 1),
        ("WBC", 1, 1, 2),
    ]
    assert [(c.class_name, c.boxes, c.pictures) for c in after.classes] == [("RBC", 4, 2)]
    assert (before.pictures, before.annotated, before.empty, before.boxes) == (3, 3, 1, 4)


async def test_unknown_classes_stop_the_import_and_the_report_stays(world):
    await world.project()
    task = await world.start_import("cells", "labelled")
    outputs = await world.upload(task, [picture(1, box("Spot"), box("RBC"))])

    with pytest.raises(InvalidError, match="Spot") as refused:
        await world.kinds.get("import").finish(task, outputs)
    async with world.store.transaction() as tx:
        await world.kinds.get("import").abandon(tx, task, outputs, FailureReason.BAD_OUTPUT)

    assert refused.value.reason == "UNKNOWN_CLASSES"
    with pytest.raises(ConflictError, match="never finished"):
        await world.datasets.stats(world.administrator, "cells", "labelled")
    _, data = await world.datasets.report(world.administrator, "cells", task_id=task.id)
    assert json.loads(data)["classes"] == {"RBC": 1, "Spot": 1}


async def test_a_failed_import_leaves_no_name_in_the_list_and_can_be_retried(world):
    await world.project()
    task = await world.start_import("cells", "labelled")
    outputs = await world.upload(task, [picture(1, box("RBC"))])

    async def listed():
        found = await world.datasets.list(world.administrator, "cells")
        return [sight.dataset.name for sight in found]

    assert await listed() == ["labelled"]
    async with world.store.transaction() as tx:
        await world.kinds.get("import").abandon(tx, task, (), FailureReason.LOST)
    assert await listed() == []
    (failed,) = await world.datasets.versions(world.administrator, "cells", "labelled")
    assert failed.version.state.value == "failed"

    await world.finish(task, outputs)

    assert await listed() == ["labelled"]
    assert (await world.datasets.stats(world.administrator, "cells", "labelled")).pictures == 1


@pytest.mark.parametrize(("unknown", "shown", "ignored"), [("add", 2, 0), ("ignore", 1, 1)])
async def test_unknown_classes_are_added_or_ignored(world, unknown, shown, ignored):
    await world.project()

    await world.imported("cells", "labelled", [picture(1, box("Spot"), box("RBC"))], unknown=unknown)

    figures = await world.datasets.stats(world.administrator, "cells", "labelled")
    assert (figures.boxes, figures.ignored_boxes) == (shown, ignored)
    # What is ignored is kept: adding the class later brings its boxes back.
    if unknown == "ignore":
        await world.classes.add(world.administrator, "cells", [("spot", ())])
        assert (await world.datasets.stats(world.administrator, "cells", "labelled")).boxes == 2


async def test_what_was_ignored_or_deleted_stays_so_until_somebody_adds_it(world):
    await world.project()
    await world.imported("cells", "a", [picture(1, box("Spot"))], unknown="ignore")
    await world.classes.delete(world.administrator, "cells", "WBC")

    await world.imported("cells", "b", [picture(2, box("Spot"), box("WBC"), box("New"))], unknown="add")

    names = (await world.classes.list(world.administrator, "cells")).names
    _, data = await world.datasets.report(world.administrator, "cells", version="b")
    assert names == ("RBC", "New")
    assert json.loads(data)["ignored_classes"] == {"Spot": 1, "WBC": 1}
    assert json.loads(data)["unknown_classes"]["boxes"] == {"New": 1}


def _labels(seed, *boxes, **more):
    return replace(picture(seed, *boxes, **more), names=())


async def labelled(world, parent, came):
    task = await world.start_import("cells", "", labels_for=parent)
    report = report_of(came, labelled=len(came))
    report["files"] = {"total": len(came), "accepted": len(came), "merged": 0, "rejected": 0, "other": 0}
    report["pictures"] = {"total": 0, "accepted": 0, "merged": 0, "rejected": 0}
    return task, await world.upload(task, came, report=report)


async def test_labels_for_a_dataset_make_its_next_version(world):
    await world.project()
    old = [picture(1, box("RBC")), picture(2, annotated=False), picture(3, box("WBC"), tags=("night",))]
    await world.imported("cells", "pool", old)

    task, outputs = await labelled(world, "pool", [_labels(1, box("WBC"), box("WBC")), _labels(2, box("RBC"))])
    made = await world.finish(task, outputs)

    assert (task.kind, made[0].name) == ("import_labels", "pool@2")
    found = {entry.digest: entry for entry in await world.pictures("cells", "pool@2")}
    assert [one.class_name for one in found[old[0].digest].boxes] == ["WBC", "WBC"]
    assert [one.class_name for one in found[old[1].digest].boxes] == ["RBC"]
    assert (found[old[2].digest].boxes, found[old[2].digest].tags) == (old[2].boxes, ("night",))
    assert found[old[0].digest].names == ("1.jpg",)
    _, sight = await world.datasets.get(world.administrator, "cells", "pool@2")
    assert sight.parent_names == ("pool@1",)
    run = await world.kinds.get(task.kind).prepare(task)
    assert [one.role for one in run.inputs] == ["source", "known", "options"]


async def test_labels_cannot_bring_pictures_of_others(world):
    await world.project()
    await world.imported("cells", "pool", [picture(1)])
    task = await world.start_import("cells", "", labels_for="pool")
    came = [_labels("stranger", box("RBC"))]
    outputs = await world.upload(task, came, report=report_of(came, labelled=1))
    with pytest.raises(BadOutputError, match="not uploaded"):
        await world.kinds.get(task.kind).finish(task, outputs)


@pytest.mark.parametrize(
    ("source", "wish", "field"),
    [
        (ImportSource(), ImportWish(), "source"),
        (ImportSource(url="https://a/b.zip", path="/data"), ImportWish(), "source"),
        (ImportSource(url="file:///etc"), ImportWish(), "source"),
        (ImportSource(path="data"), ImportWish(), "source"),
        (ImportSource(path="/data"), ImportWish(format="tfrecord"), "format"),
        (ImportSource(path="/data"), ImportWish(class_map={" ": "x"}), "class_map"),
        (ImportSource(path="/data"), ImportWish(class_names=("",)), "name"),
    ],
)
async def test_wishes_that_cannot_be_are_refused_at_once(world, source, wish, field):
    await world.project()
    with pytest.raises(InvalidError) as refused:
        await world.tasks.import_source(world.administrator, "cells", source=source, to="x", wish=wish)
    assert refused.value.field == field
    assert not await world.datasets.list(world.administrator, "cells")


async def test_addresses_and_paths_are_the_workers_to_read(world):
    await world.project()
    source = ImportSource(url="https://example.org/cells.zip?key=secret")
    wish = ImportWish(class_names=("a",), class_map={"old": ""})
    started = await world.tasks.import_source(world.administrator, "cells", source=source, to="x", wish=wish)
    task = await world.task_service.get(world.administrator, started.task_id)
    run = await world.kinds.get("import").prepare(task)
    (given,) = run.inputs
    options = IngestOptions.from_bytes(await world.blobs.read(given.digest))
    assert (options.url, options.source_name) == (source.url, "cells.zip")
    assert (options.class_names, options.class_map) == (("a",), (("old", ""),))
    assert "secret" not in json.dumps(dict(started.version.version.making.parameters))


async def test_identical_pictures_are_one_asset_across_imports(world):
    await world.project()
    await world.imported("cells", "a", [picture(1, box("RBC")), picture(2)])
    task = await world.start_import("cells", "b")
    again = picture(1, box("WBC"), names=("1.jpg", "other.jpg"))
    made = await world.finish(task, await world.upload(task, [again, picture(3)]))

    first = await world.datasets.page(world.administrator, "cells", "a")
    second = await world.datasets.page(world.administrator, "cells", made[0].name)
    aids = {entry.digest: aid for aid, entry in first.pictures}
    assert {entry.digest: aid for aid, entry in second.pictures}[again.digest] == aids[again.digest]
    _, data = await world.datasets.report(world.administrator, "cells", version="b")
    assert json.loads(data)["pictures_known"] == 1


async def test_an_executor_is_not_trusted(world):
    await world.project()
    came = [picture(1, box("RBC"))]

    async def refused(pictures, *, report=None, claimed=None):
        task = await world.start_import("cells", f"bad{world.ids()[-6:]}")
        outputs = await world.upload(task, pictures, report=report)
        with pytest.raises(BadOutputError) as error:
            await world.kinds.get("import").finish(task, outputs)
        return str(error.value)

    assert "add up" in await refused(came, report=report_of(came, boxes=report_of(came)["boxes"] | {"accepted": 9}))
    assert "holds 1" in await refused(came, report=report_of([*came, picture(2)]))
    assert "outside" in await refused([picture(1, box("RBC", 630, 0, 30, 10))])
    assert "no area" in await refused([picture(1, box("RBC", 1, 1, 0, 10))])
    assert "class name" in await refused([picture(1, box(" RBC"))])
    assert "a score" in await refused([picture(1, predictions=(box("RBC", score=1.5),))])
    assert "no score" in await refused([picture(1, predictions=(box("RBC"),))])
    assert "twice" in await refused([*came, *came])
    assert "an outline that is none" in await refused([picture(1, box("RBC", shape="[[1,2]]"))])
    assert "an outline that is none" in await refused([picture(1, predictions=(box("RBC", score=0.5, shape="{"),))])
    assert "width" in await refused([picture(1, width=0)])


async def test_a_digest_is_no_key_to_the_pictures_of_others(world):
    await world.project()
    await world.project("other")
    await world.imported("other", "secret", [picture("secret", box("RBC"))])
    task = await world.start_import("cells", "thief")
    outputs = await world.upload(task, [picture("secret", names=("mine.jpg",))])

    with pytest.raises(BadOutputError, match="not uploaded"):
        await world.kinds.get("import").finish(task, outputs)


async def test_two_imports_at_once_never_give_one_picture_two_numbers(world):
    await world.project()
    first, second = [await world.start_import("cells", name) for name in ("a", "b")]
    left = [await world.upload(task, [picture(1, box("RBC")), picture(task.id)]) for task in (first, second)]
    kind = world.kinds.get("import")
    commits = [await kind.finish(task, outputs) for task, outputs in zip((first, second), left, strict=True)]
    async with world.store.transaction() as tx:
        await commits[0](tx)
    with pytest.raises(UnavailableError):
        async with world.store.transaction() as tx:
            await commits[1](tx)

    await world.finish(second, left[1])

    pages = [await world.datasets.page(world.administrator, "cells", name) for name in ("a", "b")]
    aids = [{entry.digest: aid for aid, entry in page.pictures} for page in pages]
    assert aids[0][picture(1).digest] == aids[1][picture(1).digest]


async def test_nothing_is_visible_before_the_commit(world):
    await world.project()
    task = await world.start_import("cells", "labelled")
    await world.kinds.get("import").finish(task, await world.upload(task, [picture(1, box("RBC"))]))

    with pytest.raises(ConflictError, match="still being made"):
        await world.pictures("cells", "labelled")


async def test_a_dry_run_makes_the_report_and_nothing_else(world):
    await world.project()
    task = await world.start_import("cells", "labelled", dry_run=True)

    await world.finish(task, await world.upload(task, [picture(1, box("Spot"))]))

    _, data = await world.datasets.report(world.administrator, "cells", task_id=task.id)
    assert json.loads(data)["unknown_classes"]["boxes"] == {"Spot": 1}
    with pytest.raises(NotFoundError):
        await world.datasets.get(world.administrator, "cells", "labelled")


async def test_predictions_become_a_set_beside_the_version(world):
    await world.project()
    seen = picture(1, box("RBC"), predictions=(box("RBC", score=0.75), box("WBC", score=0.5)))
    task = await world.start_import("cells", "labelled")
    report = report_of([seen, picture(2)], prediction_model={"name": "yolo-old"})
    made = await world.finish(task, await world.upload(task, [seen, picture(2)], report=report))

    sets = await world.predictions.list(world.administrator, "cells", "labelled")
    page = await world.datasets.page(world.administrator, "cells", "labelled", prediction_set_id=sets[0].id)

    assert [ref.type for ref in made] == ["dataset_version", "prediction_set"]
    assert (sets[0].model_name, sets[0].statistics.boxes) == ("yolo-old", 2)
    shown = {entry.digest: entry for _, entry in page.pictures}
    assert [found.score for found in shown[seen.digest].predictions] == [0.75, 0.5]
    assert shown[picture(2).digest].predictions is None
    figures = await world.datasets.stats(world.administrator, "cells", "labelled")
    assert figures.boxes == 1


async def test_outlines_are_kept_and_come_back_in_the_view(world):
    await world.project()
    polygon, mask = "[[10.0,20.0,40.0,20.0,40.0,60.0]]", '{"size":[60,40],"counts":[620,30,1750]}'
    came = [picture(1, box("RBC", shape=polygon), box("RBC", shape=mask)), picture(2, box("RBC"))]
    await world.imported("cells", "a", came)
    shapes = {one.digest: [found.shape for found in one.boxes] for one in await world.pictures("cells", "a")}
    assert shapes == {came[0].digest: [polygon, mask], came[1].digest: [None]}


async def test_a_later_version_gets_the_next_number_and_the_name_means_the_newest_ready(world):
    await world.project()
    await world.imported("cells", "labelled", [picture(1, box("RBC"))])
    await world.imported("cells", "Labelled", [picture(2, box("RBC")), picture(3)])
    await world.start_import("cells", "labelled")

    _, newest = await world.datasets.get(world.administrator, "cells", "labelled")
    _, first = await world.datasets.get(world.administrator, "cells", "labelled@1")

    assert (newest.version.full_name, newest.version.content.statistics.pictures) == ("labelled@2", 2)
    assert first.version.content.statistics.pictures == 1
    history = await world.datasets.versions(world.administrator, "cells", "labelled")
    assert [sight.version.number for sight in history] == [3, 2, 1]
