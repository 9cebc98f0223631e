"""How the annotations of a run are read: by its export format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks_formats.annotations.ark import parse_ark
from lodeworks_formats.annotations.coco import parse_coco
from lodeworks_formats.annotations.voc import parse_voc
from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import ExportFormat

from lodeworks_executor.errors import BadDatasetError, BadSettingError

if TYPE_CHECKING:
    from pathlib import Path

    from lodeworks_formats.annotations.coco import CocoFile
    from lodeworks_formats.boxes import Box

    from lodeworks_executor.samples import AnnotationReader


def annotation_reader(export_format: str, *, class_names: tuple[str, ...]) -> AnnotationReader:
    """Returns the reader for an export format such as "voc:raw".

    Raises:
        BadSettingError: the format is none of ark, voc, coco or none.
    """
    try:
        annotation = ExportFormat.parse(export_format).annotation
    except FormatError as error:
        raise BadSettingError("export_format", error.message) from error
    readers: dict[str, AnnotationReader] = {"none": _no_boxes, "voc": _read_voc}
    if annotation == "ark":
        return _ArkReader(class_names)
    return readers[annotation] if annotation in readers else _CocoReader()


def _no_boxes(_asset: Path, _annotation: Path) -> tuple[Box, ...]:
    return ()


def _read_voc(_asset: Path, annotation: Path) -> tuple[Box, ...]:
    try:
        return parse_voc(_read(annotation), file=annotation.name).boxes
    except FormatError as error:
        raise BadDatasetError(str(error)) from error


class _ArkReader:
    """Reads ark files, whose lines name classes by their position."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self._class_names = class_names

    def __call__(self, _asset: Path, annotation: Path) -> tuple[Box, ...]:
        try:
            text = _read(annotation).decode("utf-8")
            return parse_ark(text, class_names=self._class_names, file=annotation.name)
        except UnicodeDecodeError as error:
            raise BadDatasetError(f"{annotation.name} is no text: {error}") from error
        except FormatError as error:
            raise BadDatasetError(str(error)) from error


class _CocoReader:
    """Reads the one COCO file that all lines of an index name; it is parsed once."""

    def __init__(self) -> None:
        self._files: dict[Path, CocoFile] = {}

    def __call__(self, asset: Path, annotation: Path) -> tuple[Box, ...]:
        if annotation not in self._files:
            try:
                self._files[annotation] = parse_coco(_read(annotation), file=annotation.name)
            except FormatError as error:
                raise BadDatasetError(str(error)) from error
        image = self._files[annotation].images.get(asset.name)
        if image is None:
            raise BadDatasetError(f"{annotation.name} does not name the picture {asset.name}")
        return tuple(image.boxes)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadDatasetError(f"cannot read the annotation {path}: {error}") from error
