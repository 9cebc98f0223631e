"""Datasets wherever database and content lie: several controllers on PostgreSQL, content in an object store."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from curation_world import CurationWorld
from dataset_world import box, picture
from lodeworks_controller.domain.curation import TagChange
from lodeworks_controller.domain.dataset import VersionState
from lodeworks_controller.domain.operation import Filter, Sample, Split
from lodeworks_controller.errors import ConflictError, LodeworksError, NotFoundError, UnavailableError
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.dataset_release import DatasetRelease
from lodeworks_controller.storage.segments.pool import Pool

CAME = [picture(number, box("RBC" if number % 2 else "WBC")) for number in range(1, 7)]


@pytest.fixture(scope="session")
def pool():
    running = Pool(processes=2).start()
    yield running
    running.close()


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
of_the_database = pytest.mark.parametrize("place", DATABASES, indirect=True)
"""Of a test to which it is all one where content lies."""


@pytest.fixture(params=[*DATABASES, "objects"])
def place(request):
    """Where database and content lie."""
    if request.param == "postgres":
        return {"database": request.getfixturevalue("postgres_url")}
    return {"objects": request.getfixturevalue("bucket")} if request.param == "objects" else {}


@pytest.fixture
async def worlds(place, tmp_path, pool):
    """Two controllers of one installation; where the database allows one alone, that one twice."""
    async with AsyncExitStack() as stack:

        async def opened(name, **given):
            folder = tmp_path / name
            folder.mkdir()
            world = await CurationWorld(folder, pool, **given).open()
            stack.push_async_callback(world.close)
            return world

        first = await opened("one", **place)
        made = first, await opened("two", **place, beside=first) if "database" in place else first
        await made[0].project()
        await made[0].imported("cells", "labelled", CAME)
        yield made


async def again_while_busy(call):
    """Repeats what another controller's work turned away for now, as finisher and clients do."""
    while True:
        try:
            return await call()
        except UnavailableError:
            await asyncio.sleep(0)


async def attempt(call):
    try:
        return await again_while_busy(call)
    except (ConflictError, NotFoundError) as error:
        return error.reason


async def test_two_imports_a_filter_and_a_delete_at_once_have_one_outcome_each(worlds):
    """Whatever the order: each call succeeds or is refused, and what is READY can be read whole."""
    world, other = worlds
    ada = world.administrator
    fresh = [[picture(number, box("RBC")), picture(number + 50)] for number in (20, 21)]
    tasks = [await one.start_import("cells", "labelled") for one in worlds]
    outputs = [await one.upload(task, came) for one, task, came in zip(worlds, tasks, fresh, strict=True)]
    reds = Filter(classes=("RBC",))

    first, second, filtered, deleted = await asyncio.gather(
        again_while_busy(lambda: world.finish(tasks[0], outputs[0])),
        again_while_busy(lambda: other.finish(tasks[1], outputs[1])),
        attempt(lambda: world.operations.filter(ada, "cells", "labelled@1", which=reds, to="red", request_id="f")),
        attempt(lambda: other.datasets.delete(ada, "cells", "labelled@1", request_id="d")),
    )

    assert {first[0].name, second[0].name} == {"labelled@2", "labelled@3"}
    refused = {"DATASET_DELETED", "VERSION_NOT_FOUND"}
    assert filtered in refused or filtered.version.full_name == "red@1"
    assert deleted is None or deleted == "DATASET_IN_USE"
    for one in worlds:
        versions = await one.datasets.versions(ada, "cells", "labelled")
        assert {entry.version.number for entry in versions} == ({2, 3} if deleted is None else {1, 2, 3})
        for entry in versions:
            shown = await one.pictures("cells", entry.version.full_name)
            assert len(shown) == entry.version.content.statistics.pictures
        brought = [shown.digest for name in ("labelled@2", "labelled@3") for shown in await one.pictures("cells", name)]
        assert len(set(brought)) == 4
        if filtered not in refused:
            assert len(await one.pictures("cells", "red")) == 3


@of_the_database
async def test_one_request_sent_to_both_has_one_outcome_and_several_are_numbered_without_a_gap(worlds):
    """A client that lost the reply asks the next controller for the same."""
    ada = worlds[0].administrator
    calls = [
        again_while_busy(
            lambda one=one: one.operations.sample(
                ada, "cells", "labelled", sample=Sample(count=3), to="some", request_id="r"
            )
        )
        for one in (*worlds, *worlds)
    ]
    made = await asyncio.gather(*calls)
    assert {sight.version.id for sight in made} == {made[0].version.id}
    assert len(await worlds[1].datasets.versions(ada, "cells", "some")) == 1

    calls = [
        again_while_busy(
            lambda one=one, seed=seed: one.operations.sample(
                ada, "cells", "labelled", sample=Sample(count=2), seed=seed, to="drawn", request_id=f"r{seed}"
            )
        )
        for seed, one in enumerate((*worlds, *worlds))
    ]
    numbers = sorted(sight.version.number for sight in await asyncio.gather(*calls))
    assert numbers == [1, 2, 3, 4]


async def test_what_datasets_can_do_they_can_do_here(worlds):
    """One controller works, the other reads: import, tag, filter, merge, split, diff, copy, delete, release."""
    world, other = worlds
    ada = world.administrator
    await world.imported("cells", "more", [picture(number, box("RBC")) for number in (5, 9)])
    await world.curation.tag(ada, "cells", "labelled", change=TagChange(add=("seen",), boxes=True), to="tagged")
    await world.operations.filter(ada, "cells", "tagged", which=Filter(classes=("WBC",)), to="white")
    await world.operations.merge(ada, "cells", ["white", "more"], to="both")
    await world.operations.split(ada, "cells", "both", split=Split({"a": 1, "b": 1}, stratified=True))

    assert {entry.boxes[0].tags for entry in await other.pictures("cells", "white")} == {("seen",)}
    parts = [{entry.digest for entry in await other.pictures("cells", name)} for name in ("a", "b")]
    assert parts[0] | parts[1] == {entry.digest for entry in await other.pictures("cells", "both")}
    assert not parts[0] & parts[1]
    compared = await other.curation.diff(ada, "cells", "labelled", "both")
    assert (compared.pictures.added, compared.pictures.removed) == (1, 2)
    figures = await other.datasets.stats(ada, "cells", "both")
    assert [(one.class_name, one.boxes) for one in figures.classes] == [("RBC", 2), ("WBC", 3)]
    await other.project("elsewhere")
    await other.operations.copy(ada, "elsewhere", "both", source_project="cells")
    for name in ("labelled", "tagged", "more"):
        await other.datasets.delete(ada, "cells", name)
    release = DatasetRelease(world.store, world.blobs, world.curated, grace=timedelta(seconds=-1))
    assert await again_while_busy(release.run) == 3
    kept = {entry.digest for name in ("white", "both") for entry in await world.pictures("cells", name)}
    gone = {entry.digest for entry in CAME} - kept
    assert await other.readable("cells", sorted(kept | gone)) == kept
    assert len(await other.pictures("elsewhere", "both")) == 5


@of_the_database
async def test_deletes_and_derivations_of_one_name_leave_nothing_half(worlds):
    """Every READY version stays whole while others of its name come and go on both controllers."""
    world, other = worlds
    ada = world.administrator

    async def derive(one, seed):
        sample = Sample(count=1 + seed % 5)
        return await one.operations.sample(ada, "cells", "labelled", sample=sample, seed=seed, request_id=f"s{seed}")

    async def tried(call):
        try:
            return await again_while_busy(call)
        except LodeworksError as error:
            return error.reason

    calls = [tried(lambda one=one, seed=seed: derive(one, seed)) for seed, one in enumerate(worlds * 3)]
    calls.append(tried(lambda: other.datasets.delete(ada, "cells", "labelled")))
    outcomes = await asyncio.gather(*calls)

    assert {one for one in outcomes if isinstance(one, str)} <= {"DATASET_DELETED", "VERSION_NOT_FOUND"}
    found = await world.projects.get(ada, "cells")
    async with other.store.snapshot() as tx:
        living = await tx.datasets.living(found.project.id)
    assert all(version.state is VersionState.READY for version in living)
    for version in living:
        shown = await other.pictures("cells", version.id)
        assert len(shown) == version.content.statistics.pictures
        needed = [version.content.manifest_digest, *(entry.digest for entry in shown)]
        async with other.store.snapshot() as tx:
            assert await tx.blobs.referenced(project_scope(found.project.id), needed) == set(needed)
