"""Archives as people have them, through the real built-in executor, into versions and out again."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from archive_import import import_file
from dataset_world import DatasetWorld
from lodeworks_builtin.export import export
from lodeworks_builtin.made_pictures.archive import write_made_archive
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import read_pictures
from lodeworks_formats.task_inputs import ExportOptions, GenerateOptions


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


async def test_made_pictures_come_in_and_go_out_again_the_same(world, tmp_path):
    archive = tmp_path / "made.zip"
    await asyncio.to_thread(
        write_made_archive, archive, GenerateOptions(pictures=12, rejects=2, archive=True), progress=lambda *_: None
    )
    await world.project("made", classes=())
    await import_file(world, archive, "made", "first")
    _, data = await world.datasets.report(world.administrator, "made", version="first")
    report = json.loads(data)
    _, sight = await world.datasets.get(world.administrator, "made", "first")
    view = await world.views.resolve(sight.version.id)
    location = await world.blobs.locate(view.digest)
    assets, out = tmp_path / "assets", tmp_path / "out.zip"
    for picture in read_pictures(location.path):
        place = assets / asset_path(picture.upright_name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(await world.blobs.read(picture.upright_digest))
    await asyncio.to_thread(
        export, location.path, assets=assets, archive=out, options=ExportOptions(), progress=lambda *_: None
    )
    await import_file(world, out, "made", "second", unknown="stop")

    assert report["files"]["rejected"] >= 2
    assert report["problems"]
    first, second = [
        {entry.digest: entry for entry in await world.pictures("made", name)} for name in ("first", "second")
    ]
    assert len(first) == report["pictures"]["accepted"]
    assert {digest: entry.boxes for digest, entry in first.items()} == {
        digest: entry.boxes for digest, entry in second.items()
    }


@pytest.mark.skipif("LODE_TEST_DATA" not in os.environ, reason="LODE_TEST_DATA names no folder with bccd-*.zip")
async def test_blood_cells_keep_every_picture_and_name_the_boxes_without_area(world):
    await world.project("blood", classes=("RBC", "WBC", "Platelets"))
    archive = Path(os.environ["LODE_TEST_DATA"]) / "bccd-trainval.zip"

    await import_file(world, archive, "blood", "labelled", unknown="stop")

    _, data = await world.datasets.report(world.administrator, "blood", version="labelled")
    figures = await world.datasets.stats(world.administrator, "blood", "labelled")
    report = json.loads(data)
    assert figures.pictures == figures.annotated == 292
    flat = [problem for problem in report["problems"] if "ZERO" in problem["reason"] or "AREA" in problem["reason"]]
    assert len(flat) == report["boxes"]["rejected"] == 2
    assert figures.boxes == report["boxes"]["accepted"]
    assert figures.empty == 0
