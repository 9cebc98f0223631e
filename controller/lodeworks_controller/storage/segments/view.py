"""Views: versions put together for those who may not read them, one file in flat memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lodeworks_formats.segments import write_picture_batches

from lodeworks_controller.domain.manifest import ASSETS, MEMBERS
from lodeworks_controller.storage.segments.assembly import assemble, chunks
from lodeworks_controller.storage.segments.job_types import DigestsJob, ViewJob
from lodeworks_controller.storage.segments.reading import read_members
from lodeworks_controller.storage.segments.session import open_session, show

_CHUNK = 32_768
_ROW_GROUP = 4_096


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
    for chunk in chunks(read_members(job.source), _CHUNK):
        pictures = assemble(chunk, source=job.source, classes=job.classes, predictions=job.predictions)
        for start in range(0, pictures.num_rows, _ROW_GROUP):
            yield pictures.slice(start, _ROW_GROUP)


def write_digests(job: DigestsJob) -> int:
    """Runs a DigestsJob and returns how many there are."""
    count = 0
    with open_session(job.limits) as session, Path(job.path).open("wb") as stream:
        for kind in (MEMBERS, ASSETS):
            show(session, kind, job.source.of_kind(kind), kind=kind)
        session.execute(
            "CREATE TEMP VIEW mine AS SELECT digest, derived_digest FROM assets WHERE aid IN (SELECT aid FROM members)"
        )
        found = session.sql(
            "SELECT digest FROM mine UNION SELECT derived_digest FROM mine WHERE derived_digest IS NOT NULL ORDER BY 1"
        ).to_arrow_reader()
        for batch in found:
            stream.write(b"".join(batch.column(0).to_pylist()))
            count += batch.num_rows
    return count
