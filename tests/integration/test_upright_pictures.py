"""From an archive to an executor's /in: however a picture is stored and turned, what an executor opens is upright."""

import cv2
import numpy as np
import pytest
from archive_import import import_file
from dataset_world import DatasetWorld
from ingest_world import voc, zipped
from lodeworks_controller.storage.segments.pool import Pool
from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import read_pictures
from lodeworks_worker.cache import Cache
from lodeworks_worker.grant import Grant, RunSpec
from lodeworks_worker.staging.plan import Roots
from lodeworks_worker.staging.stage import Stager
from turned_pictures import scene, turned, upright
from worker_world import DictionaryTransfer, made_view

CASES = [(extension, orientation) for extension in ("jpg", "png", "webp", "tiff") for orientation in range(1, 9)]
WANTED = {"jpg": "jpg", "png": "png", "webp": "png", "tiff": "png"}


@pytest.fixture(scope="session")
def pool():
    running = Pool(processes=1).start()
    yield running
    running.close()


@pytest.fixture
async def world(tmp_path, pool):
    opened = await DatasetWorld(tmp_path, pool).open()
    await opened.project(classes=("bar",))
    yield opened
    await opened.close()


def edges(seen):
    """Returns the first and last column and row of the bright bar: left, top, right, bottom."""
    rows, columns = np.nonzero((seen > 200).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def archive(path):
    """Writes a zip of every case; a box around the bright bar, in the frame in which a person sees it."""
    files, digests = {}, {}
    for extension, orientation in CASES:
        image = scene()
        data, seen = turned(image, extension, orientation), upright(image, orientation)
        files[f"images/{extension}{orientation}.{extension}"] = data
        files[f"gt/{extension}{orientation}.xml"] = voc(("bar", *edges(seen)), size=seen.shape[1::-1])
        digests[sha256_hex(data)] = (extension, orientation)
    assert len(digests) == len(CASES)
    return zipped(path, files), digests


async def staged(folder, transfer, pictures):
    """Makes /in of a training on the pictures, as a worker does."""
    folder.mkdir()
    cache = Cache(folder / "cache", limit_bytes=1 << 30)
    await cache.open()
    views = [made_view(transfer, role, pictures, folder=folder, class_names=("bar",)) for role in ("train", "val")]
    spec = RunSpec(
        executor="image:x@sha256:1",
        operations=("train",),
        class_names=("bar",),
        inputs=tuple(views),
        export_format="ark:raw",
    )
    roots = Roots(folder / "run")
    await Stager(cache, transfer).stage(Grant(task_id="t1", lease_epoch=1, run=spec), roots=roots, read_only_in=True)
    return folder / "run" / "in"


def opened(path):
    """Returns the pixels as a program sees them that has never heard of EXIF."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def check(made, pictures, digests):
    for picture in pictures:
        extension, orientation = case = digests[picture.digest]
        name = f"{picture.digest}.{WANTED[extension]}"
        shown = opened(made / "assets" / picture.digest[-2:] / name)
        expected = upright(scene(), orientation)
        assert shown.shape == expected.shape, case
        assert np.abs(shown.astype(int) - expected).mean() < 8, case
        line = (made / "annotations" / picture.digest[-2:] / f"{picture.digest}.txt").read_text().splitlines()[0]
        left, top, right, bottom = (int(text) for text in line.split(", ")[1:5])
        inside = np.zeros(shown.shape[:2], bool)
        inside[top : bottom + 1, left : right + 1] = True
        assert (shown[inside] > 150).mean() > 0.9, case
        assert (shown[~inside].min(axis=-1) > 150).mean() < 0.1, case


async def test_what_executors_open_is_upright_under_the_originals_name(world, tmp_path):
    path, digests = archive(tmp_path / "turned.zip")
    version = (await import_file(world, path, "cells", "turned"))[0]
    view = await world.views.resolve(version.id)
    pictures = list(read_pictures((await world.blobs.locate(view.digest)).path))
    assert {digests[picture.digest] for picture in pictures} == set(CASES)
    transfer = DictionaryTransfer()
    for picture in pictures:
        extension, orientation = digests[picture.digest]
        assert (picture.derived_digest is None) == (orientation == 1 and extension in ("jpg", "png"))
        transfer.add(await world.blobs.read(picture.upright_digest))

    check(await staged(tmp_path / "first", transfer, pictures), pictures, digests)

    # The copy is made once: another import of the same pictures names the same blobs.
    again = (await import_file(world, path, "cells", "again"))[0]
    view = await world.views.resolve(again.id)
    later = {entry.digest: entry for entry in read_pictures((await world.blobs.locate(view.digest)).path)}
    assert {entry.digest: entry.derived_digest for entry in pictures} == {
        digest: entry.derived_digest for digest, entry in later.items()
    }


async def test_a_worker_turns_what_came_without_an_upright_copy(tmp_path):
    _, digests = archive(tmp_path / "turned.zip")
    transfer, pictures = DictionaryTransfer(), []
    for digest, (extension, orientation) in digests.items():
        seen = upright(scene(), orientation)
        assert transfer.add(turned(scene(), extension, orientation)) == digest
        left, top, right, bottom = edges(seen)
        boxes = (Box("bar", left, top, right - left + 1, bottom - top + 1),)
        size = {"width": seen.shape[1], "height": seen.shape[0]}
        pictures.append(Picture(digest=digest, extension=extension, orientation=orientation, boxes=boxes, **size))
    check(await staged(tmp_path / "bare", transfer, pictures), pictures, digests)
