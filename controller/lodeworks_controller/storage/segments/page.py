"""Pages: a few members at a time, as pictures."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import MEMBERS_SCHEMA
from lodeworks_formats.segments.box_columns import box_lists

from lodeworks_controller.domain.manifest import MEMBERS
from lodeworks_controller.service.segments import Page, PictureOutcomes
from lodeworks_controller.storage.segments.assembly import assemble
from lodeworks_controller.storage.segments.job_types import Beside, PageJob
from lodeworks_controller.storage.segments.outcomes import OUTCOMES, by_place, compare
from lodeworks_controller.storage.segments.reading import ids_of, unique
from lodeworks_controller.storage.segments.thumbnails import thumbnails_of

_OUTCOMES: Final = {code: outcome for outcome, code in OUTCOMES.items()}


def read_page(job: PageJob) -> Page:
    """Runs a PageJob."""
    paths = [segment.path for segment in unique((job.source,), MEMBERS)]
    rows = _behind([job.shortlist] if job.shortlist else paths, after_aid=job.after_aid, count=job.limit + 1)
    more = rows.num_rows > job.limit
    rows = rows.slice(0, job.limit)
    if not rows.num_rows:
        return Page((), None)
    pictures = assemble(rows, source=job.source, classes=job.classes, predictions=job.predictions)
    aids = rows.column("aid").to_pylist()
    return Page(
        tuple(zip(aids, pictures_of(pictures), strict=True)),
        aids[-1] if more else None,
        outcomes=_outcomes(rows, aids, job),
        thumbnails={
            aid: digest.hex() for aid, digest in thumbnails_of(job.thumbnails, ids_of(rows.column("aid"))).items()
        },
    )


def _outcomes(rows: Any, aids: Sequence[int], job: PageJob) -> dict[int, PictureOutcomes]:
    """Returns what became of the boxes of each picture, in the order in which the page shows them."""
    if job.predictions is None:
        return {}
    compared = compare(rows, job.compared, source=job.source, beside=Beside(job.predictions, job.classes))
    truths, predictions = (by_place(side, members=len(aids)) for side in (compared.truths, compared.predictions))
    return {
        aid: PictureOutcomes(tuple(map(_OUTCOMES.get, mine)), tuple(map(_OUTCOMES.get, theirs)))
        for aid, mine, theirs in zip(aids, truths, predictions, strict=True)
    }


def _behind(paths: Sequence[str], *, after_aid: int, count: int) -> Any:
    """Returns the first so many members behind an aid; only the row groups that hold them are read."""
    parts: list[Any] = [MEMBERS_SCHEMA.empty_table()]
    for path in paths:
        with pq.ParquetFile(path) as file:
            for place in range(file.num_row_groups):
                span = file.metadata.row_group(place).column(0).statistics
                if span is not None and span.has_min_max and span.max <= after_aid:
                    continue
                rows = file.read_row_group(place, use_threads=False)
                start = int(np.searchsorted(ids_of(rows.column("aid")), after_aid, side="right"))
                parts.append(rows.slice(start, count))
                count -= parts[-1].num_rows
                if count <= 0:
                    return pa.concat_tables(parts).combine_chunks()
    return pa.concat_tables(parts).combine_chunks()


def pictures_of(rows: Any) -> tuple[Picture, ...]:
    """Returns the rows of a table of PICTURES_SCHEMA as pictures."""
    rows = rows.combine_chunks()
    column = {name: rows.column(name).combine_chunks() for name in rows.schema.names}
    boxes, predictions = box_lists(column.pop("boxes")), box_lists(column.pop("predictions"))
    plain = rows.select(list(column)).to_pylist()
    return tuple(
        Picture(
            digest=row["digest"].hex(),
            extension=row["extension"],
            width=row["width"],
            height=row["height"],
            orientation=row["orientation"],
            channels=row["channels"],
            size_bytes=row["size_bytes"],
            names=tuple(row["names"]),
            tags=tuple(row["tags"]),
            split=row["split"],
            boxes=truth,
            predictions=predicted,
            derived_digest=row["derived_digest"] and row["derived_digest"].hex(),
        )
        for row, truth, predicted in zip(plain, boxes, predictions, strict=True)
    )
