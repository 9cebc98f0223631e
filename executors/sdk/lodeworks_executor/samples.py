"""The pictures of a run and what is annotated in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import probe_picture
from lodeworks_formats.protocol import parse_index

from lodeworks_executor.errors import BadDatasetError, ErrorCode

if TYPE_CHECKING:
    from lodeworks_formats.boxes import Box

AnnotationReader = Callable[[Path, Path], "tuple[Box, ...]"]
"""Parses the boxes of a picture from (asset path, annotation path)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an index file."""

    asset_path: Path
    annotation_path: Path | None
    _reader: AnnotationReader = field(repr=False, compare=False)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The annotated boxes, parsed anew at each access; empty where nothing is annotated.

        Raises:
            BadDatasetError: the annotation cannot be read.
        """
        if self.annotation_path is None:
            return ()
        return self._reader(self.asset_path, self.annotation_path)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the picture, read from its header at each access; pictures in /in are upright.

        Raises:
            BadDatasetError: there is no such file, or it is no picture (code PICTURE_FORMAT).
        """
        return picture_size_px(self.asset_path)


def picture_size_px(path: Path) -> tuple[int, int]:
    """Returns width and height of a picture; raises BadDatasetError (code PICTURE_FORMAT) where there is none."""
    try:
        return probe_picture(path.read_bytes()).upright_size
    except (OSError, FormatError) as error:
        message = f"cannot read the picture {path}: {error}"
        raise BadDatasetError(message, code=ErrorCode.PICTURE_FORMAT) from error


def read_index(path: Path | None, *, reader: AnnotationReader) -> Iterator[Sample]:
    """Yields the samples of an index file in its order; none where the index does not apply.

    Raises:
        BadDatasetError: the index is not there, or a line of it cannot be read.
    """
    if path is None:
        return
    try:
        lines = parse_index(path.read_text(encoding="utf-8"), file=str(path))
    except (OSError, UnicodeDecodeError, FormatError) as error:
        raise BadDatasetError(f"cannot read the index {path.name}: {error}") from error
    for asset, annotation in lines:
        yield Sample(Path(asset), Path(annotation) if annotation else None, reader)
