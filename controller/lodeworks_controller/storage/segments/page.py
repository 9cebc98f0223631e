"""Pages: a few members at a time, as pictures."""
# ruff: noqa: S608 (SQL is put together from constants, numbers and quoted paths of our own)

from typing import Any

from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments.box_columns import box_lists

from lodeworks_controller.domain.manifest import ASSETS, COUNTS, MEMBERS
from lodeworks_controller.service.segments import Page
from lodeworks_controller.storage.segments.assembly import assemble
from lodeworks_controller.storage.segments.conditions import compile_condition
from lodeworks_controller.storage.segments.job_types import PageJob
from lodeworks_controller.storage.segments.session import open_session, show


def read_page(job: PageJob) -> Page:
    """Runs a PageJob."""
    with open_session(job.limits) as session:
        show(session, MEMBERS, job.source.of_kind(MEMBERS), kind=MEMBERS)
        rows = _members(session, job)
        more = rows.num_rows > job.limit
        rows = rows.slice(0, job.limit)
        if not rows.num_rows:
            return Page((), None)
        pictures = assemble(session, rows, source=job.source, classes=job.classes, predictions=job.predictions)
    aids = rows.column("aid").to_pylist()
    return Page(tuple(zip(aids, pictures_of(pictures), strict=True)), aids[-1] if more else None)


def _members(session: Any, job: PageJob) -> Any:
    behind = f"m.aid > {int(job.after_aid)}"
    if job.condition is None:
        query = f"SELECT m.aid, m.rec, m.tags FROM members m WHERE {behind} ORDER BY m.aid LIMIT {job.limit + 1}"
        return session.sql(query).to_arrow_table()
    for kind in (ASSETS, COUNTS):
        show(session, kind, job.source.of_kind(kind), kind=kind)
    clause = compile_condition(job.condition, rids=job.rids or {})
    clause.where = f"{behind} AND {clause.where}"
    query = f"{clause.query('m.aid, m.rec, m.tags')} LIMIT {job.limit + 1}"
    return session.sql(query, params=clause.parameters).to_arrow_table()


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
