"""The pictures of a run and what is annotated in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
        BadDatasetError: the index is not there, or a line of it names no picture.
    """
    if path is None:
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadDatasetError(f"cannot read the index {path}: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        asset, _, annotation = line.partition("\t")
        if not asset.strip():
            raise BadDatasetError(f"{path}:{number} names no picture")
        yield Sample(Path(asset.strip()), Path(annotation.strip()) if annotation.strip() else None, reader)
