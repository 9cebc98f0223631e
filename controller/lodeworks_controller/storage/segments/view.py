"""Views: versions put together for those who may not read them, one file in flat memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lodeworks_controller.storage.segments.assembly import assemble, chunks
from lodeworks_controller.storage.segments.membership import read_members
from lodeworks_controller.storage.segments.session import Limits, Source, open_session
from lodeworks_formats.segments import write_picture_batches

_CHUNK = 32_768
_ROW_GROUP = 4_096


@dataclass(frozen=True, slots=True)
class ViewJob:
    """Writes a view into a file: pictures by aid, boxes of the classes, in the order given."""

    source: Source
    classes: Mapping[int, str]
    class_names: tuple[str, ...]
    class_map_revision: int
    path: str
    limits: Limits
    predictions: Source | None = None


def build_view(job: ViewJob) -> int:
    """Runs a ViewJob and returns the number of pictures; the same job writes the same bytes."""
    return write_picture_batches(
        Path(job.path),
        _row_groups(job),
        kind="view",
        class_names=job.class_names,
        class_map_revision=job.class_map_revision,
    )


def _row_groups(job: ViewJob) -> Iterator[Any]:
    with open_session(job.limits) as session:
        for chunk in chunks(read_members(job.source), _CHUNK):
            pictures = assemble(
                session, chunk, source=job.source, classes=job.classes, predictions=job.predictions
            )
            for start in range(0, pictures.num_rows, _ROW_GROUP):
                yield pictures.slice(start, _ROW_GROUP)
