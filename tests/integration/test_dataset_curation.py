"""Tags, likeness, differences, leaks, lineage, sharing and release, from the service down to the files."""

from datetime import timedelta

import pytest
from curation_world import CurationWorld
from dataset_world import box, picture
from lodeworks_controller.domain.curation import TagChange
from lodeworks_controller.domain.identity import ProjectRole
from lodeworks_controller.domain.lineage import DATASET_VERSION, Node
from lodeworks_controller.domain.object_class import ClassSelection
from lodeworks_controller.domain.operation import Filter, Sample
from lodeworks_controller.domain.project import Member
from lodeworks_controller.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
)
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_formats.segments import pictures_metadata, read_pictures

CAME = [
    picture(1, box("RBC"), box("WBC", tags=("blurred",)), tags=("night",)),
    picture(2, box("WBC")),
    picture(3),
    picture(4, annotated=False),
    picture(5, box("RBC"), width=1280),
    picture(6, box("RBC"), box("RBC"), names=("b.jpg", "6.jpg")),
]
DIGEST = {number: picture(number).digest for number in range(1, 12)}


@pytest.fixture(scope="session")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await CurationWorld(tmp_path, pool).open()
    await opened.project()
    yield opened
    await opened.close()


@pytest.fixture
async def labelled(world):
    await world.imported("cells", "labelled", CAME)
    return world


async def by_digest(world, dataset, project="cells"):
    return {entry.digest: entry for entry in await world.pictures(project, dataset)}


async def test_pictures_are_tagged_and_untagged_where_a_filter_says(labelled):
    world, ada = labelled, labelled.administrator
    big = Filter(expression="width > 1000 or class = WBC")

    tagged = await world.curation.tag(ada, "cells", "labelled", change=TagChange(add=("odd", "big")), which=big)
    again = await world.curation.tag(ada, "cells", "labelled", change=TagChange(remove=("odd", "night")))

    assert (tagged.version.full_name, again.version.full_name) == ("labelled@2", "labelled@3")
    assert tagged.version.making.parameters["add"] == ["big", "odd"]
    first, second = await by_digest(world, "labelled@2"), await by_digest(world, "labelled@3")
    assert first[DIGEST[1]].tags == ("big", "night", "odd")
    assert (first[DIGEST[5]].tags, first[DIGEST[6]].tags) == (("big", "odd"), ())
    assert {entry.tags for entry in second.values()} == {(), ("big",)}
    assert (await by_digest(world, "labelled@1"))[DIGEST[1]].tags == ("night",)
    assert tagged.version.content.statistics == again.version.content.statistics


async def test_tags_of_boxes_make_new_records_and_leave_the_old_ones_alone(labelled):
    world, ada = labelled, labelled.administrator
    change = TagChange(add=("checked",), remove=("blurred",), boxes=True, classes=("WBC",))

    made = await world.curation.tag(ada, "cells", "labelled", change=change)

    found = await by_digest(world, "labelled@2")
    assert [(one.class_name, one.tags) for one in found[DIGEST[1]].boxes] == [("RBC", ()), ("WBC", ("checked",))]
    assert found[DIGEST[2]].boxes[0].tags == ("checked",)
    assert (await by_digest(world, "labelled@1"))[DIGEST[1]].boxes[1].tags == ("blurred",)
    before = (await world.datasets.get(ada, "cells", "labelled@1"))[1].version.content.statistics
    assert made.version.content.statistics == before
    assert (await by_digest(world, "labelled@2"))[DIGEST[4]].boxes is None
    compared = await world.curation.diff(ada, "cells", "labelled@1", "labelled@2")
    assert (compared.pictures.reannotated, compared.pictures.unchanged) == (2, 4)


@pytest.mark.parametrize(
    "change",
    [
        TagChange(),
        TagChange(add=("",)),
        TagChange(add=(" a",)),
        TagChange(add=("a",), remove=("a",)),
        TagChange(add=("a",), classes=("RBC",)),
        TagChange(add=tuple(map(str, range(101)))),
    ],
)
async def test_tags_that_cannot_be_are_refused(labelled, change):
    with pytest.raises(InvalidError) as refused:
        await labelled.curation.tag(labelled.administrator, "cells", "labelled", change=change)
    assert refused.value.reason == "TAG_INVALID"


async def test_a_difference_names_what_came_went_and_changed(labelled):
    world, ada = labelled, labelled.administrator
    relabelled = [picture(1, box("RBC"), tags=("night",)), CAME[1], picture(3, tags=("day",)), *CAME[3:5], picture(7)]
    await world.imported("cells", "other", relabelled)

    found = await world.curation.diff(ada, "cells", "labelled", "other")

    shown = {(one.kind, one.digest) for one in found.pictures.shown}
    assert ("added", DIGEST[7]) in shown
    assert ("removed", DIGEST[6]) in shown
    # An import gives each annotated picture a record of its own, so all that is annotated twice differs.
    assert (found.pictures.added, found.pictures.removed, found.pictures.unchanged) == (1, 1, 1)
    assert found.pictures.reannotated == 4
    assert {name: (old, new) for name, old, new in found.classes} == {"RBC": (4, 2), "WBC": (2, 1)}
    assert next(one for one in found.pictures.shown if one.kind == "removed").names == ("6.jpg", "b.jpg")


async def test_a_sample_differs_from_its_source_by_what_it_left_out(labelled):
    world, ada = labelled, labelled.administrator
    await world.operations.sample(ada, "cells", "labelled", sample=Sample(count=4), to="few")

    there = await world.curation.diff(ada, "cells", "labelled", "few")
    back = await world.curation.diff(ada, "cells", "few", "labelled")

    assert (there.pictures.removed, there.pictures.added, there.pictures.unchanged) == (2, 0, 4)
    assert (back.pictures.removed, back.pictures.added, back.pictures.unchanged) == (0, 2, 4)


async def test_dedup_keeps_the_annotated_one_and_says_when_nothing_was_measured(labelled):
    world, ada = labelled, labelled.administrator
    with pytest.raises(ConflictError, match="6 pictures were not measured") as refused:
        await world.curation.dedup(ada, "cells", "labelled", distance=3)
    assert refused.value.reason == "SIGNALS_MISSING"
    # 4 is not annotated and looks like 2; 5 is larger than 6, which differs in three bits; 1 and 3 are alone.
    hashes = {1: 0, 2: 0xFF00, 3: 0xFFFF_0000_0000, 4: 0xFF01, 5: 0xF0F0_0000_0000_0000, 6: 0xF0F0_0000_0000_0007}
    await world.measured("cells", "labelled", {DIGEST[number]: value for number, value in hashes.items()})

    counted, removed = await world.curation.dedup(ada, "cells", "labelled", distance=3, dry_run=True)
    made, _ = await world.curation.dedup(ada, "cells", "labelled", distance=3, to="once", request_id="r")
    repeated, again = await world.curation.dedup(ada, "cells", "labelled", distance=3, to="once", request_id="r")
    exact, none = await world.curation.dedup(ada, "cells", "labelled", distance=0, to="exact")

    assert (counted.version.id, removed, none) == ("", 2, 0)
    assert (repeated.version.id, again) == (made.version.id, 2)
    assert set(await by_digest(world, "once")) == {DIGEST[number] for number in (1, 2, 3, 5)}
    assert exact.version.content.statistics.pictures == 6
    with pytest.raises(InvalidError):
        await world.curation.dedup(ada, "cells", "labelled", distance=8)


async def test_leaks_are_found_by_digest_and_by_look(labelled):
    world, ada = labelled, labelled.administrator
    await world.imported("cells", "val", [CAME[0], picture(8, box("RBC")), picture(9)])

    names, by_file = await world.curation.leaks(ada, "cells", ["labelled", "val"])
    assert names == ("labelled@1", "val@1")
    assert [(one.identical, one.alike) for one in by_file.counts] == [(1, 0)]
    assert by_file.shown[0].first_digest == by_file.shown[0].second_digest == DIGEST[1]

    for dataset, numbers in (("labelled", range(1, 7)), ("val", (1, 8, 9))):
        hashes = {1: 0xFFFF << 48, 2: 0b11 << 40, 8: 0b111 << 40}
        values = {DIGEST[number]: hashes.get(number, number * 0x0123_4567_89AB_CDEF % 2**64) for number in numbers}
        await world.measured("cells", dataset, values)
    _, by_look = await world.curation.leaks(ada, "cells", ["labelled", "val"], distance=3)
    assert [(one.identical, one.alike) for one in by_look.counts] == [(1, 1)]
    alike = next(one for one in by_look.shown if one.first_digest != one.second_digest)
    assert (alike.first_digest, alike.second_digest, alike.distance) == (DIGEST[2], DIGEST[8], 1)
    with pytest.raises(InvalidError):
        await world.curation.leaks(ada, "cells", ["labelled"])


async def test_what_was_measured_is_not_measured_again(labelled):
    world, ada = labelled, labelled.administrator
    started = await world.measuring.measure(ada, "cells", ["labelled"], request_id="r")
    assert started.pictures == 6
    assert (await world.measuring.measure(ada, "cells", ["labelled"], request_id="r")).task_id == started.task_id
    with pytest.raises(ConflictError, match="6 pictures"):
        await world.measuring.analyze(ada, "cells", ["labelled"])

    await world.measured("cells", "labelled", {DIGEST[number]: number for number in range(1, 7)})

    assert (await world.measuring.measure(ada, "cells", ["labelled"])).task_id == ""
    assert await world.measuring.analyze(ada, "cells", ["labelled"])
    with pytest.raises(InvalidError):
        await world.measuring.analyze(ada, "cells", [])


async def test_an_alias_after_the_fact_reaches_old_versions_statistics_filters_and_the_next_training(labelled):
    """Nothing is rewritten: boxes keep their raw class, and what it means is looked up."""
    world, ada = labelled, labelled.administrator
    await world.operations.filter(ada, "cells", "labelled", which=Filter(classes=("RBC",)), to="red")
    old = (await world.datasets.get(ada, "cells", "labelled@1"))[1].version
    trained_on = await world.views.resolve(old.id)

    await world.classes.rename(ada, "cells", "RBC", "red cell")
    await world.imported("cells", "labelled", [picture(10, box("red cell"), box("rbc"))], unknown="add")

    figures = await world.datasets.stats(ada, "cells", "labelled@1")
    assert [(one.class_name, one.boxes, one.pictures) for one in figures.classes] == [("red cell", 4, 3), ("WBC", 2, 2)]
    await world.operations.merge(ada, "cells", ["labelled@1", "labelled@2"], to="both")
    counted = await world.datasets.stats(ada, "cells", "both", selection=ClassSelection(("red cell",)))
    assert [(one.boxes, one.pictures) for one in counted.classes] == [(6, 4)]
    filtered = await world.operations.filter(ada, "cells", "both", which=Filter(classes=("red cell",)), dry_run=True)
    assert filtered.version.content.statistics.pictures == 4
    # The old name goes on to mean the class, in either spelling.
    for name in ("RBC", "rbc"):
        same = await world.operations.filter(ada, "cells", "both", which=Filter(classes=(name,)), dry_run=True)
        assert same.version.content.statistics.pictures == 4
    # The next training of the very same version gets the new name; the one that was made keeps its view and revision.
    again = await world.views.resolve(old.id)
    assert (trained_on.class_names, again.class_names) == (("RBC", "WBC"), ("red cell", "WBC"))
    path = (await world.blobs.locate(again.digest)).path
    assert pictures_metadata(path).class_map_revision == again.class_map_revision > trained_on.class_map_revision
    assert {one.class_name for entry in read_pictures(path) for one in entry.boxes or ()} == {"red cell", "WBC"}
    now = (await world.datasets.get(ada, "cells", "labelled@1"))[1].version
    assert now.content.manifest_digest == old.content.manifest_digest

    # A copy into a project with other classes shows what its own map says.
    await world.project("elsewhere", classes=("erythrocyte",))
    copied = await world.operations.copy(ada, "elsewhere", "both", source_project="cells", to="copied")
    assert (await world.datasets.stats(ada, "elsewhere", "copied")).boxes == 0
    await world.classes.set_aliases(ada, "elsewhere", "erythrocyte", add=["RBC", "red cell"])
    there = await world.datasets.stats(ada, "elsewhere", "copied")
    assert [(one.class_name, one.boxes) for one in there.classes] == [("erythrocyte", 6)]
    assert (await world.datasets.stats(ada, "cells", "both")).classes[0].class_name == "red cell"

    # Diff and lineage show it.
    compared = await world.curation.diff(ada, "cells", "labelled@1", "both")
    assert ("RBC", "RBC", "red cell") in compared.class_changes
    assert compared.classes[0] == ("red cell", 4, 6)
    line = await world.curation.lineage(ada, "cells", "both")
    assert {line.nodes[edge.parent].name for edge in line.up} == {"labelled@1", "labelled@2"}
    revisions = {line.nodes[edge.parent].class_revision for edge in line.up}
    assert len(revisions) == 2
    # The copy is in another project: it is counted, not named.
    outside = [edge for edge in line.down if edge.child == Node(DATASET_VERSION, copied.version.id)]
    assert len(outside) == 1
    assert outside[0].child not in line.nodes


async def test_hidden_datasets_leave_the_lists_and_come_back(labelled):
    world, ada = labelled, labelled.administrator
    assert (await world.sharing.hide(ada, "cells", "labelled", hidden=True)).dataset.hidden
    assert await world.datasets.list(ada, "cells") == []
    assert len(await world.datasets.list(ada, "cells", include_hidden=True)) == 1
    await world.operations.sample(ada, "cells", "labelled", sample=Sample(count=1), to="still")
    assert not (await world.sharing.hide(ada, "cells", "labelled", hidden=False)).dataset.hidden
    assert {one.dataset.name for one in await world.datasets.list(ada, "cells")} == {"labelled", "still"}


async def test_a_public_dataset_is_copied_by_strangers_and_by_nobody_else_when_it_ends(labelled):
    world, ada = labelled, labelled.administrator
    bob = await world.person("bob")
    await world.projects.create(bob, "bobs", class_names=("RBC",))
    with pytest.raises(NotFoundError):
        await world.operations.copy(bob, "bobs", "labelled", source_project="cells")

    await world.sharing.publish(ada, "cells", "labelled", public=True)
    (shown,) = await world.sharing.public()
    assert (shown.project_name, shown.dataset.dataset.name) == ("cells", "labelled")
    made = await world.operations.copy(bob, "bobs", "labelled", source_project="cells", to="mine")

    assert made.version.full_name == "mine@1"
    assert await world.readable("bobs", [DIGEST[1], DIGEST[4]]) == {DIGEST[1], DIGEST[4]}
    with pytest.raises(NotFoundError):  # what is public may be copied, not changed
        await world.curation.tag(bob, "cells", "labelled", change=TagChange(add=("x",)))
    await world.sharing.publish(ada, "cells", "labelled", public=False)
    assert await world.sharing.public() == []
    with pytest.raises(NotFoundError):
        await world.operations.copy(bob, "bobs", "labelled", source_project="cells", to="more")


async def test_only_owners_share(labelled):
    world = labelled
    eve = await world.person("eve")
    found = await world.projects.get(world.administrator, "cells")
    async with world.store.transaction() as tx:
        await tx.projects.put_member(Member(found.project.id, eve.user_id, ProjectRole.EDITOR, "eve"))
    with pytest.raises(PermissionDeniedError):
        await world.sharing.publish(eve, "cells", "labelled", public=True)
    await world.sharing.hide(eve, "cells", "labelled", hidden=True)


async def test_what_only_a_deleted_version_had_is_let_go_after_its_grace(labelled):
    world, ada = labelled, labelled.administrator
    await world.operations.filter(ada, "cells", "labelled", which=Filter(classes=("WBC",)), to="white")
    digests = [DIGEST[number] for number in range(1, 7)]
    gone = (await world.datasets.get(ada, "cells", "labelled"))[1].version
    await world.datasets.delete(ada, "cells", "labelled")
    assert await world.release.run() == 0
    assert await world.readable("cells", digests) == set(digests)

    world.now += timedelta(hours=2)
    assert await world.release.run() == 1
    assert await world.release.run() == 0

    assert await world.readable("cells", digests) == {DIGEST[1], DIGEST[2]}
    assert await world.readable("cells", [gone.content.manifest_digest]) == set()
    white = (await world.datasets.get(ada, "cells", "white"))[1].version
    manifest = await world.curation.manifest(white)
    needed = [ref.digest for ref in manifest.segments]
    assert await world.readable("cells", needed) == set(needed)
    assert set(await by_digest(world, "white")) == {DIGEST[1], DIGEST[2]}


async def test_nothing_is_let_go_while_a_version_is_in_the_making(labelled):
    world, ada = labelled, labelled.administrator
    await world.datasets.delete(ada, "cells", "labelled")
    task = await world.start_import("cells", "again")
    world.now += timedelta(hours=2)

    assert await world.release.run() == 0
    await world.finish(task, await world.upload(task, CAME))
    assert await world.release.run() == 1

    digests = [DIGEST[number] for number in range(1, 7)]
    assert await world.readable("cells", digests) == set(digests)
    assert len(await by_digest(world, "again")) == 6
