"""The pictures of a run and what is annotated in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_formats.errors import FormatError
from lodeworks_formats.protocol import parse_index

from lodeworks_executor.errors import BadDatasetError

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
