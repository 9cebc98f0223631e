"""Writes the annotations of a training in the format that its executor reads."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from lodeworks_formats.annotations.ark import render_ark
from lodeworks_formats.annotations.coco import INPUT, write_coco
from lodeworks_formats.annotations.voc import render_voc_input
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import ExportFormat, asset_path

from lodeworks_worker.staging.pictures import asset_name

_COCO_FILE = "coco-annotations.json"


class AnnotationWriter(Protocol):
    """Writes annotations below a folder, picture by picture."""

    def write(self, picture: Picture, *, seen_asset: str) -> str | None:
        """Writes one picture's annotation; returns its path below the folder, None when there is none."""
        ...

    def finish(self, pictures: Iterator[Picture]) -> None:
        """Writes what needs all pictures at once, given once more."""
        ...


class _Ark:
    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder = folder
        self._class_names = class_names

    def write(self, picture: Picture, *, seen_asset: str) -> str:  # noqa: ARG002 - the interface's
        text = render_ark(
            picture.boxes or (), class_names=self._class_names, width=picture.width, height=picture.height
        )
        return _put(self._folder, f"{picture.digest}.txt", text.encode())

    def finish(self, pictures: Iterable[Picture]) -> None:
        pass


class _Voc:
    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder = folder
        self._class_names = class_names

    def write(self, picture: Picture, *, seen_asset: str) -> str:
        data = render_voc_input(picture, picture.boxes or (), asset_path=seen_asset, class_names=self._class_names)
        return _put(self._folder, f"{picture.digest}.xml", data)

    def finish(self, pictures: Iterable[Picture]) -> None:
        pass


class _Coco:
    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder = folder
        self._class_names = class_names

    def write(self, picture: Picture, *, seen_asset: str) -> str:  # noqa: ARG002 - the interface's
        return _COCO_FILE

    def finish(self, pictures: Iterable[Picture]) -> None:
        by_hash = {picture.digest: picture for picture in pictures}
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _COCO_FILE).open("w", encoding="utf-8") as stream:
            ordered = (by_hash[digest] for digest in sorted(by_hash))
            write_coco(stream, ordered, class_names=self._class_names, form=INPUT, names=asset_name)


class _None:
    def write(self, picture: Picture, *, seen_asset: str) -> None:
        pass

    def finish(self, pictures: Iterable[Picture]) -> None:
        pass


def annotation_writer(wanted: ExportFormat, *, folder: Path, class_names: Sequence[str]) -> AnnotationWriter:
    """Returns the writer of a format."""
    if wanted.annotation == "ark":
        return _Ark(folder, class_names)
    if wanted.annotation == "voc":
        return _Voc(folder, class_names)
    if wanted.annotation == "coco":
        return _Coco(folder, class_names)
    return _None()


def _put(folder: Path, name: str, data: bytes) -> str:
    relative = asset_path(name)
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return relative
