"""How the annotations of a run are read: by its export format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks_executor.errors import BadSettingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lodeworks_formats.boxes import Box

    from lodeworks_executor.samples import AnnotationReader

_FORMATS = {
    "ark": "ark",
    "det-ark": "ark",
    "voc": "voc",
    "det-voc": "voc",
    "coco": "coco",
    "seg-coco": "coco",
    "none": "none",
}


def annotation_reader(export_format: str, *, class_names: tuple[str, ...]) -> AnnotationReader:
    """Returns the reader for an export format such as "voc:raw".

    Raises:
        BadSettingError: the format is none of ark, voc, coco or none.
    """
    name = export_format.partition(":")[0].strip().lower() or "voc"
    if name not in _FORMATS:
        raise BadSettingError("export_format", f"wants one of {', '.join(_FORMATS)}, not {name!r}")
    makers: dict[str, Callable[[tuple[str, ...]], AnnotationReader]] = {"none": lambda _: _no_boxes}
    return makers[_FORMATS[name]](class_names)


def _no_boxes(_asset: Path, _annotation: Path) -> tuple[Box, ...]:
    return ()
