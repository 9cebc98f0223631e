"""Operations, views and access, from the service down to the files."""

import asyncio
from datetime import timedelta

import psutil
import pytest
from dataset_world import DatasetWorld, box, picture, picture_bytes
from lodeworks_controller.domain.dataset import VersionState
from lodeworks_controller.domain.identity import ProjectRole
from lodeworks_controller.domain.lineage import DATASET_VERSION, Node
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.operation import Conflict, Filter, Sample, Split
from lodeworks_controller.errors import (
    ConflictError,
    ExhaustedError,
    ExistsError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
)
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.prediction_set import Predicted
from lodeworks_controller.storage.segments.pool import Pool, Work
from lodeworks_formats.segments import pictures_metadata, read_pictures, write_pictures

CAME = [
    picture(1, box("RBC"), box("WBC"), tags=("night",)),
    picture(2, box("WBC")),
    picture(3),
    picture(4, annotated=False),
    picture(5, box("RBC"), width=1280, split="train"),
    picture(6, box("RBC"), box("RBC"), names=("b.jpg", "a.jpg", "6.jpg")),
]
DIGEST = {number: picture(number).digest for number in range(1, 9)}


@pytest.fixture(scope="session")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await DatasetWorld(tmp_path, pool).open()
    await opened.project()
    yield opened
    await opened.close()


@pytest.fixture
async def labelled(world):
    await world.imported("cells", "labelled", CAME)
    return world


async def digests(world, dataset, project="cells"):
    return {entry.digest for entry in await world.pictures(project, dataset)}


async def test_filters_and_their_dry_run(labelled):
    world, ada = labelled, labelled.administrator

    counted = await world.operations.filter(ada, "cells", "labelled", which=Filter(classes=("wbc",)), dry_run=True)
    made = await world.operations.filter(ada, "cells", "labelled", which=Filter(classes=("wbc",)), to="white")
    wide = await world.operations.filter(
        ada, "cells", "labelled", which=Filter(expression="width > 1000 or boxes(RBC) >= 2"), to="some"
    )

    assert (counted.version.id, counted.version.content.statistics.pictures, counted.boxes) == ("", 2, 3)
    assert (made.version.full_name, made.parent_names) == ("white@1", ("labelled@1",))
    assert made.version.content.statistics == counted.version.content.statistics
    assert await digests(world, "white") == {DIGEST[1], DIGEST[2]}
    assert await digests(world, wide.version.full_name) == {DIGEST[5], DIGEST[6]}
    with pytest.raises(NotFoundError, match="no class 'Spot'"):
        await world.operations.filter(ada, "cells", "labelled", which=Filter(classes=("Spot",)))


async def test_without_a_target_the_next_version_of_the_first_input_is_made(labelled):
    made = await labelled.operations.filter(labelled.administrator, "cells", "labelled", which=Filter(tags=("night",)))

    assert made.version.full_name == "labelled@2"


async def test_merge_of_several_and_who_wins(labelled):
    world, ada = labelled, labelled.administrator
    relabelled = [picture(1, box("RBC", 99, 99, 9, 9)), picture(7, box("RBC"))]
    await world.imported("cells", "again", relabelled)
    await world.imported("cells", "third", [picture(8)])

    async def first_box(conflict, to):
        merged = await world.operations.merge(ada, "cells", ["labelled", "again", "third"], conflict=conflict, to=to)
        assert merged.version.content.statistics.pictures == 8
        found = {entry.digest: entry for entry in await world.pictures("cells", to)}
        assert found[DIGEST[1]].tags == ("night",)
        return found[DIGEST[1]].boxes[0].x

    assert await first_box(Conflict.NEWEST, "newest") == 99
    assert await first_box(Conflict.HOST, "host") == 10
    assert await first_box(Conflict.GUEST, "guest") == 99
    with pytest.raises(ConflictError, match="1 pictures"):
        await world.operations.merge(ada, "cells", ["labelled", "again"], conflict=Conflict.STOP)
    with pytest.raises(InvalidError):
        await world.operations.merge(ada, "cells", ["labelled"])


async def test_many_parts_are_stored_together(labelled, monkeypatch):
    world, stored = labelled, []
    put_many = type(world.blobs).put_many

    async def counted(blobs, contents, **named):
        stored.append(len(contents))
        return await put_many(blobs, contents, **named)

    monkeypatch.setattr(type(world.blobs), "put_many", counted)
    shares = {f"part{number}": 1.0 for number in range(3)}
    parts = await world.operations.split(world.administrator, "cells", "labelled", split=Split(shares))
    assert len(parts) == 3
    assert len(stored) == 2, "the segments once, the manifests once"
    assert sum([len(await digests(world, part.version.full_name)) for part in parts]) == len(CAME)


async def test_split_exclude_and_sample_fit_together(labelled):
    world, ada = labelled, labelled.administrator
    parts = await world.operations.split(ada, "cells", "labelled", split=Split({"train": 2, "val": 1}), seed=5)
    rest = await world.operations.exclude(ada, "cells", "labelled", without=["train"], to="rest")
    drawn = await world.operations.sample(ada, "cells", "labelled", sample=Sample(count=4), seed=5, to="drawn")

    train, val = await digests(world, "train"), await digests(world, "val")
    assert [part.version.full_name for part in parts] == ["train@1", "val@1"]
    assert (len(train), len(val), train & val) == (4, 2, set())
    assert await digests(world, rest.version.full_name) == val
    # A sample is the first part of a split with the same seed: what is recorded is enough to draw it again.
    assert await digests(world, drawn.version.full_name) == train
    assert drawn.version.making.seed == 5


async def test_a_version_knows_its_family_both_ways(labelled):
    world, ada = labelled, labelled.administrator
    (train, _) = await world.operations.split(ada, "cells", "labelled", split=Split({"train": 1, "val": 1}))
    night = await world.operations.filter(ada, "cells", "train", which=Filter(expression="boxes >= 0"), to="all")
    _, source = await world.datasets.get(ada, "cells", "labelled")

    up, _ = await world.datasets.lineage(ada, "cells", "all")
    _, down = await world.datasets.lineage(ada, "cells", "labelled")

    node = {sight.version.id: Node(DATASET_VERSION, sight.version.id) for sight in (train, night, source)}
    assert {edge.parent for edge in up} == {node[train.version.id], node[source.version.id]}
    assert node[night.version.id] in {edge.child for edge in down}


async def test_a_repeat_with_the_same_request_id_makes_nothing_new(labelled):
    world, ada = labelled, labelled.administrator

    async def split():
        return await world.operations.split(
            ada, "cells", "labelled", split=Split({"train": 1, "val": 1}), request_id="once"
        )

    first, second = await split(), await split()
    copies = [await world.operations.copy(ada, "cells", "labelled", to="c", request_id="c") for _ in range(2)]

    assert [s.version.id for s in first] == [s.version.id for s in second]
    assert copies[0].version.id == copies[1].version.id
    assert len(await world.datasets.versions(ada, "cells", "c")) == 1


async def test_equal_operations_on_equal_versions_give_equal_digests(labelled):
    world, ada = labelled, labelled.administrator
    made = [
        await world.operations.sample(ada, "cells", "labelled", sample=Sample(count=3), seed=9, to=name)
        for name in ("x", "y")
    ]

    assert made[0].version.content.manifest_digest == made[1].version.content.manifest_digest


async def test_a_copy_lets_the_other_project_read_and_costs_no_picture(labelled):
    world, ada = labelled, labelled.administrator
    await world.project("other", classes=("red",))
    await world.classes.set_aliases(ada, "other", "red", add=["rbc"])
    other = (await world.projects.get(ada, "other")).project

    copied = await world.operations.copy(ada, "other", "labelled", source_project="cells")

    assert copied.version.full_name == "labelled@1"
    found = {entry.digest: entry for entry in await world.pictures("other", "labelled")}
    # The other project's class map says what the boxes are called there.
    assert [entry.class_name for entry in found[DIGEST[1]].boxes] == ["red"]
    async with world.store.snapshot() as tx:
        assert await tx.blobs.referenced(project_scope(other.id), [DIGEST[1]]) == {DIGEST[1]}


async def test_a_view_is_one_object_frozen_at_a_revision(labelled):
    world, ada = labelled, labelled.administrator
    _, sight = await world.datasets.get(ada, "cells", "labelled")
    id_ = sight.version.id

    view = await world.views.resolve(id_)
    again = await world.views.resolve(id_)
    chosen = await world.views.resolve(id_, selection=ClassSelection(("WBC",)))
    await world.classes.rename(ada, "cells", "RBC", "red cell")
    later = await world.views.resolve(id_)
    frozen = await world.views.resolve(id_, revision=view.class_map_revision)

    assert view == again == frozen
    assert (chosen.class_names, later.class_names) == (("WBC",), ("red cell", "WBC"))
    location = await world.blobs.locate(view.digest)
    assert pictures_metadata(location.path).class_names == ("RBC", "WBC")
    found = {entry.digest: entry for entry in read_pictures(location.path)}
    assert found[DIGEST[1]].boxes == CAME[0].boxes
    assert found[DIGEST[4]].boxes is None
    assert (found[DIGEST[5]].split, found[DIGEST[5]].tags) == ("train", ())
    assert found[DIGEST[6]].names == ("6.jpg", "a.jpg", "b.jpg")
    white = {entry.digest: entry for entry in read_pictures((await world.blobs.locate(chosen.digest)).path)}
    assert (len(white[DIGEST[1]].boxes), white[DIGEST[6]].boxes) == (1, ())


async def test_predictions_of_a_model_join_later_versions_with_the_same_pictures(labelled, tmp_path):
    world, ada = labelled, labelled.administrator
    _, sight = await world.datasets.get(ada, "cells", "labelled")
    exchange = tmp_path / "predictions.parquet"
    seen = [picture(1, predictions=(box("WBC", score=0.5),)), picture("elsewhere", predictions=())]
    write_pictures(exchange, seen, kind="predictions")
    blob = await world.blobs.put_file(exchange)

    commit = await world.predictions.take_in(
        blob.digest, version=sight.version, by=Predicted("stage-digest", "cells@1:best", variant="onnx-fp32")
    )
    async with world.store.transaction() as tx:
        made = await commit(tx)
    night = await world.operations.filter(ada, "cells", "labelled", which=Filter(tags=("night",)), to="night")
    page = await world.datasets.page(ada, "cells", night.version.id, prediction_set_id=made.id)
    view = await world.views.resolve(night.version.id, prediction_set_id=made.id)

    assert [entry.score for entry in page.pictures[0][1].predictions] == [0.5]
    (entry,) = read_pictures((await world.blobs.locate(view.digest)).path)
    assert entry.predictions[0].class_name == "WBC"
    async with world.store.snapshot() as tx:
        known = await tx.prediction_sets.find(version_id=sight.version.id, model_key="stage-digest")
    assert known == made
    assert known.statistics.pictures == 1


async def test_pages_follow_each_other_and_filters_hold_on_every_page(labelled):
    world, ada = labelled, labelled.administrator
    seen, after = [], 0
    while True:
        page = await world.datasets.page(ada, "cells", "labelled", which=Filter(min_boxes=1), after_aid=after, limit=2)
        seen += [entry.digest for _, entry in page.pictures]
        if page.after_aid is None:
            break
        after = page.after_aid

    assert sorted(seen) == sorted(DIGEST[number] for number in (1, 2, 5, 6))


async def test_an_empty_result_is_a_version_too(labelled):
    world, ada = labelled, labelled.administrator
    none = await world.operations.filter(ada, "cells", "labelled", which=Filter(tags=("fog",)), to="none")

    assert none.version.content.statistics.pictures == 0
    assert await world.pictures("cells", "none") == []
    view = await world.views.resolve(none.version.id)
    assert view.pictures == 0
    both = await world.operations.merge(ada, "cells", ["none", "labelled"], to="both")
    assert both.version.content.statistics.pictures == 6


async def test_renaming_and_deleting(labelled):
    world, ada = labelled, labelled.administrator
    await world.imported("cells", "labelled", [picture(1)])
    await world.imported("cells", "other", [picture(1)])

    with pytest.raises(ExistsError):
        await world.datasets.rename(ada, "cells", "other", "LABELLED")
    renamed = await world.datasets.rename(ada, "cells", "labelled", "Labels")
    await world.datasets.delete(ada, "cells", "labels@2")

    assert (renamed.latest.version.full_name, renamed.version_count) == ("Labels@2", 2)
    assert (await world.datasets.get(ada, "cells", "labels"))[1].version.number == 1
    await world.datasets.delete(ada, "cells", "labels")
    with pytest.raises(NotFoundError):
        await world.datasets.get(ada, "cells", "labels")
    assert [sight.dataset.name for sight in await world.datasets.list(ada, "cells")] == ["other"]
    # The name is free again, and numbers begin anew.
    assert await world.imported("cells", "labels", [picture(1)]) == "labels@1"


async def test_what_a_task_uses_is_not_deleted(labelled):
    world, ada = labelled, labelled.administrator
    started = await world.tasks.export(ada, "cells", "labelled")

    with pytest.raises(ConflictError, match=started.task_id):
        await world.datasets.delete(ada, "cells", "labelled")
    with pytest.raises(ConflictError, match="export"):
        await world.projects.delete(ada, "cells")


async def test_an_export_reads_a_view_and_leaves_a_blob_of_the_project(labelled):
    world, ada = labelled, labelled.administrator
    started = await world.tasks.export(ada, "cells", "labelled", request_id="e")
    assert (await world.tasks.export(ada, "cells", "labelled", request_id="e")).task_id == started.task_id
    task = await world.task_service.get(ada, started.task_id)

    plan = await world.exports.prepare(task)

    assert (plan.executor, [entry.role for entry in plan.inputs]) == ("builtin:export", ["view", "options"])
    assert plan.class_names == ("RBC", "WBC")


async def test_roles_decide_who_may_what(labelled):
    world = labelled
    eve, bob = await world.person("eve"), await world.person("bob")
    await world.projects.add_member(world.administrator, "cells", "bob", role=ProjectRole.VIEWER)

    with pytest.raises(NotFoundError) as hidden:
        await world.datasets.get(eve, "cells", "labelled")
    with pytest.raises(NotFoundError) as absent:
        await world.datasets.get(eve, "nothing", "labelled")
    assert hidden.value.reason == absent.value.reason == "PROJECT_NOT_FOUND"
    assert (await world.datasets.get(bob, "cells", "labelled"))[1].version.number == 1
    for refused in (
        world.operations.filter(bob, "cells", "labelled", which=Filter(tags=("night",))),
        world.classes.add(bob, "cells", [("Spot", ())]),
        world.projects.rename(bob, "cells", "mine"),
    ):
        with pytest.raises(PermissionDeniedError):
            await refused
    assert [sight.project.name for sight in await world.projects.list(bob)] == ["cells"]
    assert list(await world.projects.list(eve)) == []


async def test_projects_are_archived_and_free_their_name(world):
    ada = world.administrator
    with pytest.raises(ExistsError):
        await world.projects.create(ada, "CELLS")
    again = await world.projects.create(ada, "new", request_id="n")
    assert (await world.projects.create(ada, "new", request_id="n")).project.id == again.project.id
    with pytest.raises(ConflictError, match="last owner"):
        await world.projects.remove_member(ada, "new", "ada")

    await world.projects.delete(ada, "cells")
    world.now += timedelta(seconds=1)

    with pytest.raises(NotFoundError):
        await world.projects.get(ada, "cells")
    assert (await world.projects.create(ada, "cells")).project.name == "cells"


async def test_made_pictures_are_asked_for_with_checked_settings(world):
    ada = world.administrator
    started = await world.tasks.generate(ada, "cells", to="made", count=12, seed=3, settings={"classes": 3})

    task = await world.task_service.get(ada, started.task_id)
    plan = await world.kinds.get("generate").prepare(task)

    assert started.version.version.state is VersionState.CREATING
    options = await world.blobs.read(plan.inputs[0].digest)
    assert b'"pictures":12' in options
    for settings in ({"colour": 1}, {"seed": 4}, {"classes": "three"}, {"pictures": 0}):
        with pytest.raises(InvalidError):
            await world.tasks.generate(ada, "cells", to="made", settings=settings)


async def test_the_pool_refuses_what_needs_too_much_and_lives_on(world):
    del world
    small = Pool(processes=1, memory_bytes=400 * 1024**2).start()
    try:
        with pytest.raises(ExhaustedError):
            await small.run(Work("builtins", "bytearray"), 1024**3)
        assert await small.run(Work("builtins", "len"), "still here") == 10
        assert picture_bytes(1) == b"picture 1"
    finally:
        small.close()


async def test_the_pool_gives_memory_back_when_idle_and_wakes_again():
    idle = Pool(processes=1, idle_s=0.01).start()
    try:
        process = await idle.run(Work("builtins", "eval"), "__import__('os').getpid()")
        async with asyncio.timeout(20):
            while psutil.pid_exists(process):  # noqa: ASYNC110 (an end of a process sets no event here)
                await asyncio.sleep(0.02)
        assert await idle.run(Work("builtins", "len"), "awake") == 5
    finally:
        idle.close()
