"""Made pictures as a VOC zip, with broken files on request, so that an import has something to reject."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from lodeworks_formats.annotations.voc import render_voc
from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.task_inputs import GenerateOptions

from lodeworks_builtin.made_pictures.scene import draw_scene
from lodeworks_builtin.made_pictures.shapes import CLASSES

_QUALITY = 90
_EPOCH = (2020, 1, 1, 0, 0, 0)
_LEAST_SIDE = 64


def write_made_archive(path: Path, options: GenerateOptions, *, progress: Callable[[float], None]) -> None:
    """Writes a zip with images/ and gt/; the same options give the same bytes with the same OpenCV.

    Raises:
        FormatError: BAD_OPTIONS.
    """
    if not 1 <= options.classes <= len(CLASSES):
        raise FormatError("BAD_OPTIONS", f"option 'classes' must be 1 to {len(CLASSES)}")
    if options.pictures < 1 or min(options.width, options.height) < _LEAST_SIDE:
        raise FormatError("BAD_OPTIONS", f"at least one picture, each side at least {_LEAST_SIDE} pixels")
    first: tuple[bytes, bytes] | None = None
    with zipfile.ZipFile(path, "w") as archive:
        for index, (data, annotation) in enumerate(made_pictures(options)):
            first = first or (data, annotation or b"")
            _add(archive, f"made/images/{index:05d}.jpg", data)
            if annotation is not None:
                _add(archive, f"made/gt/{index:05d}.xml", annotation)
            progress((index + 1) / options.pictures)
        assert first is not None
        for index, (name, data) in enumerate(_broken_files(*first)):
            if index >= options.rejects:
                break
            _add(archive, f"made/{name}", data)


def made_pictures(options: GenerateOptions) -> Iterator[tuple[bytes, bytes | None]]:
    """Yields jpg and VOC bytes of each picture; None for one that is not annotated. Each depends on its index only."""
    for index in range(options.pictures):
        rng = np.random.default_rng([options.seed, index])
        annotated = rng.random() < options.annotated
        class_names = CLASSES[: options.classes]
        scene = draw_scene(rng, width=options.width, height=options.height, class_names=class_names)
        done, encoded = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert done
        data = encoded.tobytes()
        picture = Picture(sha256_hex(data), "jpg", options.width, options.height)
        yield data, render_voc(picture, scene.boxes, filename=f"{index:05d}.jpg") if annotated else None


def _broken_files(data: bytes, annotation: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields what real sources hold: cut off, not a picture, twice the same, without a partner, empty."""
    yield "images/broken_cut_off.jpg", data[: len(data) // 2]
    yield "images/broken_text.png", b"this is no picture\n"
    yield "images/twice.jpg", data
    yield "gt/broken_no_picture.xml", annotation
    yield "images/broken_empty.jpg", b""
    number = 0
    while True:
        number += 1
        yield f"images/broken_cut_off_{number}.jpg", data[: len(data) // (2 + number)]


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o644 << 16
    compression = zipfile.ZIP_DEFLATED if name.endswith(".xml") else zipfile.ZIP_STORED
    archive.writestr(info, data, compression)
