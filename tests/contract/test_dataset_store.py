"""What every database must do for projects, classes, datasets, catalogue, lineage and prediction sets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lodeworks_controller.domain.dataset import (
    Content,
    Dataset,
    DatasetVersion,
    Making,
    Operation,
    VersionState,
)
from lodeworks_controller.domain.identity import ProjectRole
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.lineage import Edge, Node
from lodeworks_controller.domain.manifest import ClassCount, Statistics
from lodeworks_controller.domain.object_class import ClassMap, RawClass
from lodeworks_controller.domain.prediction_set import PredictionSet, key_of_name
from lodeworks_controller.domain.project import Member, ObjectType, Project, ProjectState
from lodeworks_controller.domain.report import StoredReport
from lodeworks_controller.domain.view import View
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_formats.manifest import SegmentRef

NOW = datetime(2026, 5, 1, tzinfo=UTC)
FIGURES = Statistics(3, 2, 5, 900, {7: ClassCount(5, 2)})
MAKING = Making(Operation.SAMPLE, ("parent",), {"count": 3}, 2**63 - 1)

ids = ulids(lambda: NOW)


@pytest.fixture
async def store(database_address):
    opened = await SqlStore.open(database_address, clock=lambda: NOW, ids=ids, database_clock=False)
    await opened.create_schema()
    yield opened
    await opened.close()


def project(name="cells", **more):
    given = {"object_type": ObjectType.DETECTION, "state": ProjectState.ACTIVE, "class_revision": 0}
    return Project(id=ids(), name=name, created_by="u", created_at=NOW, **(given | more))


@pytest.fixture
async def cells(store):
    made = project()
    async with store.transaction() as tx:
        await tx.projects.add(made)
    return made


def version_of(dataset, number, **more):
    given = {"state": VersionState.CREATING, "object_type": ObjectType.DETECTION, "making": MAKING}
    return DatasetVersion(
        id=ids(), dataset_id=dataset.id, project_id=dataset.project_id, name=dataset.name, number=number,
        class_revision=0, created_by="u", created_at=NOW, **(given | more),
    )  # fmt: skip


async def test_projects_are_found_by_name_in_any_case_and_by_id(store, cells):
    async with store.transaction() as tx:
        with pytest.raises(ExistsError):
            await tx.projects.add(project("CELLS"))
        other = project("Äpfel")
        await tx.projects.add(other)
        with pytest.raises(ExistsError):
            await tx.projects.put(replace(other, name="Cells"))

    async with store.snapshot() as tx:
        assert await tx.projects.find("CELLS") == cells
        assert await tx.projects.find(cells.id) == cells
        assert await tx.projects.find("äPFEL") == other
        assert await tx.projects.find("nothing") is None
        with pytest.raises(NotFoundError):
            await tx.projects.get("nothing")


async def test_an_archived_project_frees_its_name(store, cells):
    async with store.transaction() as tx:
        await tx.projects.put(cells.archive(at=NOW))
        again = project()
        await tx.projects.add(again)

    async with store.snapshot() as tx:
        assert await tx.projects.find("cells") == again
        assert (await tx.projects.get(cells.id)).state is ProjectState.ARCHIVED
        assert await tx.projects.list(user_id=None) == [again]


async def test_members_have_one_role_each(store, cells):
    async with store.transaction() as tx:
        await tx.projects.put_member(Member(cells.id, "bob", ProjectRole.VIEWER, "bob"))
        await tx.projects.put_member(Member(cells.id, "ada", ProjectRole.OWNER, "ada"))
        await tx.projects.put_member(Member(cells.id, "bob", ProjectRole.EDITOR, "bob"))
        await tx.projects.remove_member(cells.id, "nobody")

    async with store.snapshot() as tx:
        members = await tx.projects.members(cells.id)
        assert [(member.user_id, member.role) for member in members] == [
            ("ada", ProjectRole.OWNER),
            ("bob", ProjectRole.EDITOR),
        ]
        assert await tx.projects.role(cells.id, "bob") is ProjectRole.EDITOR
        assert await tx.projects.role(cells.id, "eve") is None
        assert await tx.projects.list(user_id="bob") == [cells]
        assert await tx.projects.list(user_id="eve") == []
        assert await tx.projects.list(user_id=None, after_name="cells") == []


async def test_class_maps_keep_every_revision(store, cells):
    first = ClassMap(cells.id, 0).add(["RBC", "WBC"], ids=ids)
    second = first.rename("RBC", "red").delete("WBC")
    second = replace(second, revision=2)
    async with store.transaction() as tx:
        assert await tx.classes.get(cells.id) == ClassMap(cells.id, 0)
        await tx.classes.add(first)
        await tx.classes.add(second)

    async with store.snapshot() as tx:
        assert await tx.classes.get(cells.id) == second
        assert await tx.classes.get(cells.id, revision=1) == first
        with pytest.raises(NotFoundError):
            await tx.classes.get(cells.id, revision=3)


async def test_raw_classes_are_interned_once_by_exact_name(store):
    many = [f"name{number}" for number in range(1200)]
    async with store.transaction() as tx:
        first = await tx.classes.intern(["RBC", "rbc", "RBC"])
        await tx.classes.intern(many)
    async with store.transaction() as tx:
        second = await tx.classes.intern(["rbc", "Wbc", *many])

    assert len(set(first.values())) == 2
    assert second["rbc"] == first["rbc"]
    assert len(set(second.values())) == 1202
    async with store.snapshot() as tx:
        assert set(await tx.classes.raw(["rbc"])) == {RawClass(rid, name) for name, rid in first.items()}
        assert await tx.classes.named([first["RBC"]]) == [RawClass(first["RBC"], "RBC")]


async def test_datasets_and_their_versions(store, cells):
    dataset = Dataset(ids(), cells.id, "Labelled", NOW)
    async with store.transaction() as tx:
        await tx.datasets.add(dataset)
        with pytest.raises(ExistsError):
            await tx.datasets.add(Dataset(ids(), cells.id, "labelled", NOW))
        made = [version_of(dataset, number) for number in (1, 2, 3)]
        for version in made:
            await tx.datasets.add_version(version)
        ready = made[1].ready(Content("m", FIGURES, "r"), class_revision=4, at=NOW)
        await tx.datasets.put_version(ready)
        await tx.datasets.put_version(made[2].fail("no"))

    async with store.snapshot() as tx:
        assert await tx.datasets.find(cells.id, "LABELLED") == dataset
        assert await tx.datasets.version(ready.id) == ready
        assert (await tx.datasets.version(ready.id)).making == MAKING
        assert await tx.datasets.numbered(dataset.id, 2) == ready
        assert await tx.datasets.numbered(dataset.id, 9) is None
        assert await tx.datasets.newest_ready([dataset.id, "other"]) == {dataset.id: ready}
        assert [found.number for found in await tx.datasets.versions(dataset.id, limit=2)] == [3, 2]
        assert [found.number for found in await tx.datasets.versions(dataset.id, before_number=2)] == [1]
        assert await tx.datasets.count_versions([dataset.id]) == {dataset.id: 3}
        assert (await tx.datasets.by_ids([ready.id, "gone"])).keys() == {ready.id}
        with pytest.raises(NotFoundError):
            await tx.datasets.version("gone")
        assert await tx.datasets.find("elsewhere", "Labelled") is None


async def test_renamed_datasets_take_their_versions_along_and_deleted_ones_free_the_name(store, cells):
    dataset = Dataset(ids(), cells.id, "old", NOW)
    version = version_of(dataset, 1)
    async with store.transaction() as tx:
        await tx.datasets.add(dataset)
        await tx.datasets.add_version(version)
        await tx.datasets.put(replace(dataset, name="new"))
    async with store.transaction() as tx:
        assert (await tx.datasets.version(version.id)).full_name == "new@1"
        await tx.datasets.put_version(replace(version, deleted_at=NOW))
        await tx.datasets.put(replace(dataset, name="new", deleted_at=NOW))
        await tx.datasets.add(Dataset(ids(), cells.id, "new", NOW))

    async with store.snapshot() as tx:
        assert [found.name for found in await tx.datasets.list(cells.id)] == ["new"]
        assert await tx.datasets.versions(dataset.id) == []


async def test_hidden_datasets_are_listed_only_when_asked_for(store, cells):
    async with store.transaction() as tx:
        await tx.datasets.add(Dataset(ids(), cells.id, "a", NOW, hidden=True))
        await tx.datasets.add(Dataset(ids(), cells.id, "b", NOW))

    async with store.snapshot() as tx:
        assert [found.name for found in await tx.datasets.list(cells.id)] == ["b"]
        assert [found.name for found in await tx.datasets.list(cells.id, include_hidden=True)] == ["a", "b"]
        assert await tx.datasets.list(cells.id, after_name="b") == []


async def test_the_newest_report_of_a_task_counts(store, cells):
    async with store.transaction() as tx:
        await tx.datasets.put_report(StoredReport("t", cells.id, None, "first", NOW))
        await tx.datasets.put_report(StoredReport("t", cells.id, "v", "second", NOW + timedelta(seconds=1)))

    async with store.snapshot() as tx:
        assert (await tx.datasets.report(task_id="t")).digest == "second"
        assert (await tx.datasets.report(version_id="v")).task_id == "t"
        assert await tx.datasets.report(task_id="other") is None


async def reserve_and_fail(store):
    async with store.transaction() as tx:
        await tx.catalogue.reserve("aid", 10)
        raise RuntimeError


async def test_ranges_are_never_given_twice(store):
    async with store.transaction() as tx:
        assert [await tx.catalogue.reserve("aid", count) for count in (5, 1)] == [1, 6]
        assert await tx.catalogue.reserve("rec", 2) == 1
    with pytest.raises(RuntimeError):
        await reserve_and_fail(store)
    async with store.transaction() as tx:
        assert await tx.catalogue.reserve("aid", 1) == 7


async def test_segments_of_assets_move_the_generation(store):
    second = SegmentRef("assets", "b", 10, 1, 11, 20)
    first = SegmentRef("assets", "a", 10, 1, 1, 10)
    async with store.transaction() as tx:
        before = await tx.catalogue.asset_generation()
        await tx.catalogue.add_asset_segment(second)
        await tx.catalogue.add_asset_segment(first)
        after = await tx.catalogue.asset_generation()

    assert before < after
    async with store.snapshot() as tx:
        assert await tx.catalogue.asset_segments() == [first, second]


async def test_segments_of_signals_and_thumbnails_are_noted_once_each_and_by_their_ids(store):
    later, sooner = (SegmentRef("thumbnails", name, 10, 1, first, first + 9) for name, first in (("b", 11), ("a", 1)))
    async with store.transaction() as tx:
        for segment in (later, sooner, later):
            await tx.catalogue.add_thumbnail_segment(segment)
            await tx.catalogue.add_signal_segment(replace(segment, kind="signals"), algorithm_version=1)
    async with store.snapshot() as tx:
        assert await tx.catalogue.thumbnail_segments() == [sooner, later]
        measured = [replace(segment, kind="signals") for segment in (sooner, later)]
        assert await tx.catalogue.signal_segments(algorithm_version=1) == measured
        assert await tx.catalogue.signal_segments(algorithm_version=2) == []


async def test_a_view_is_noted_once(store):
    view = View("digest", 10, 3, ("RBC",), 2)
    async with store.transaction() as tx:
        await tx.catalogue.put_view("key", view)
        await tx.catalogue.put_view("key", view)
        assert await tx.catalogue.view("key") == view
        assert await tx.catalogue.view("other") is None


async def test_lineage_is_walked_both_ways_through_all_generations(store):
    a, b, c = (Node("dataset_version", name) for name in "abc")
    model = Node("model_version", "m")
    edges = [Edge(a, b, "filter:0"), Edge(b, c, "sample:0"), Edge(c, model, "train")]
    async with store.transaction() as tx:
        await tx.lineage.add(edges)
        await tx.lineage.add(edges[:1])

    async with store.snapshot() as tx:
        assert set(await tx.lineage.up(model)) == set(edges)
        assert set(await tx.lineage.down(a)) == set(edges)
        assert set(await tx.lineage.down(b)) == set(edges[1:])
        assert await tx.lineage.up(a) == ()


async def test_the_newest_prediction_set_of_a_model_is_found(store, cells):
    dataset = Dataset(ids(), cells.id, "d", NOW)
    version = version_of(dataset, 1)

    def prediction(**more):
        given = {"model_key": key_of_name("m"), "settings_digest": "", "variant": ""}
        return PredictionSet(
            id=ids(), project_id=cells.id, version_id=version.id, model_name="m", manifest_digest="x",
            statistics=FIGURES, created_at=NOW, **(given | more),
        )  # fmt: skip

    old, new = prediction(), prediction(variant="int8")
    async with store.transaction() as tx:
        await tx.datasets.add(dataset)
        await tx.datasets.add_version(version)
        for found in (old, new, prediction(model_key="other")):
            await tx.prediction_sets.add(found)

    async with store.transaction() as tx:
        mine = {"version_id": version.id, "model_key": "name:m"}
        assert await tx.prediction_sets.find(**mine) == new
        assert await tx.prediction_sets.find(**mine, variant="") == old
        assert await tx.prediction_sets.find(**mine, settings_digest="s") is None
        assert len(await tx.prediction_sets.list(version.id)) == 3
        assert await tx.prediction_sets.list(version.id, before_id=old.id) == []
        await tx.prediction_sets.put(replace(new, deleted_at=NOW))
        assert await tx.prediction_sets.find(**mine) == old
        with pytest.raises(NotFoundError):
            await tx.prediction_sets.get("gone")
