"""Exchange forms become segments: digests become aids, names become rids, every list of boxes a record."""
# ruff: noqa: S608 (SQL is put together from constants, numbers and quoted paths of our own)

from pathlib import Path

import duckdb
import pyarrow as pa
from lodeworks_formats.segments import ASSETS_SCHEMA, BOXES_SCHEMA

from lodeworks_controller.domain.manifest import (
    ASSETS,
    BOXES,
    COUNTS,
    MEMBERS,
    PROVENANCE,
    RECORDS,
    Statistics,
    covering,
)
from lodeworks_controller.storage.segments.assembly import SPLIT_TAG
from lodeworks_controller.storage.segments.job_types import (
    Arrival,
    ArriveJob,
    Located,
    Outcome,
    PredictJob,
    Source,
    Written,
)
from lodeworks_controller.storage.segments.session import files_sql, open_session, table
from lodeworks_controller.storage.segments.statistics import bounds, statistics_of
from lodeworks_controller.storage.segments.written import Writer

_BOXES_PER_SEGMENT = 2_000_000
_BATCH = 65_536
_VALUES = ", ".join(f"b.{field.name} AS {field.name}" for field in BOXES_SCHEMA if field.name not in ("rec", "rid"))


def arrive(job: ArriveJob) -> Arrival:
    """Runs an ArriveJob; the same job writes the same bytes."""
    writer = Writer(Path(job.folder))
    with open_session(job.limits) as session:
        fresh = _number_assets(session, job, writer)
        known = _shared_assets(session, job)
        provenance = writer.write(PROVENANCE, table(session, _PROVENANCE_SQL))
        members = table(session, _MEMBERS_SQL)
        written = [*fresh, provenance, writer.write(MEMBERS, members)]
        written += _write_records(session, "boxes", writer)
        predictions = _predictions(session, writer)
    sources = (_source(written), Source(known))
    version = Outcome(tuple(written), tuple(s.ref for s in known), statistics_of(members, sources=sources))
    return Arrival(version, predictions)


def _number_assets(session: duckdb.DuckDBPyConnection, job: ArriveJob, writer: Writer) -> list[Written]:
    """Makes the view ``placed``: the exchange form with aids and records. Returns the segment of new assets."""
    session.execute(f"CREATE TEMP VIEW x AS SELECT * FROM {files_sql([job.exchange], numbered=True)}")
    paths = [segment.path for segment in job.assets]
    assets = files_sql(paths) if paths else "(SELECT 0::BIGINT AS aid, ''::BLOB AS digest WHERE false)"
    session.execute(
        "CREATE TEMP TABLE numbered AS"
        f" WITH known AS (SELECT aid, digest FROM {assets} WHERE digest IN (SELECT digest FROM x)),"
        " flat AS (SELECT x.file_row_number AS place, x.digest, known.aid AS old, x.boxes IS NOT NULL AS annotated,"
        "  x.predictions IS NOT NULL AS predicted FROM x LEFT JOIN known ON known.digest = x.digest),"
        " given AS (SELECT *, coalesce(old, "
        f"  {job.first_aid} - 1 + row_number() OVER (PARTITION BY old IS NULL ORDER BY digest)) AS aid FROM flat)"
        " SELECT place, aid, old IS NULL AS fresh,"
        f" CASE WHEN annotated THEN {job.first_rec} - 1 + row_number() OVER (PARTITION BY annotated ORDER BY aid) END"
        "  AS rec,"
        f" CASE WHEN predicted THEN {job.first_rec} - 1 + (SELECT count(*) FROM flat WHERE annotated)"
        "  + row_number() OVER (PARTITION BY predicted ORDER BY aid) END AS predicted_rec"
        " FROM given"
    )
    session.execute("CREATE TEMP VIEW placed AS SELECT * FROM numbered n JOIN x ON x.file_row_number = n.place")
    names = pa.array([job.source]), pa.array([job.import_id])
    session.register("origin", pa.table({"source": names[0], "import_id": names[1]}))
    classes = {"name": pa.array(list(job.rids), pa.string()), "rid": pa.array(list(job.rids.values()), pa.int64())}
    session.register("classes", pa.table(classes))
    columns = ", ".join("extension AS format" if name == "format" else name for name in ASSETS_SCHEMA.names)
    rows = table(session, f"SELECT {columns} FROM placed WHERE fresh ORDER BY aid")
    return [writer.write(ASSETS, rows)] if rows.num_rows else []


_PROVENANCE_SQL = """
SELECT DISTINCT aid, name, source, import_id FROM (SELECT aid, unnest(names) AS name FROM placed), origin
ORDER BY aid, name
"""
_MEMBERS_SQL = f"""
SELECT aid, rec,
       list_sort(list_distinct(list_concat(tags, CASE WHEN split IS NULL THEN [] ELSE ['{SPLIT_TAG}' || split] END)))
           AS tags
FROM placed ORDER BY aid
"""


def _shared_assets(session: duckdb.DuckDBPyConnection, job: ArriveJob) -> tuple[Located, ...]:
    aids = table(session, "SELECT aid FROM numbered WHERE NOT fresh ORDER BY aid").column("aid")
    span = bounds(aids)
    if span is None:
        return ()
    wanted = {ref.digest for ref in covering((s.ref for s in job.assets), low=span[0], high=span[1])}
    return tuple(segment for segment in job.assets if segment.ref.digest in wanted)


def _write_records(session: duckdb.DuckDBPyConnection, column: str, writer: Writer) -> list[Written]:
    """Writes boxes and counts of one column, record by record; sorting may spill, memory stays flat."""
    rec = "rec" if column == "boxes" else "predicted_rec"
    unnested = (
        f"SELECT {rec} AS rec, unnest({column}) AS b, generate_subscripts({column}, 1) AS place"
        f" FROM placed WHERE {rec} IS NOT NULL"
    )
    boxes = session.sql(
        f"SELECT rec, rid, {_VALUES} FROM ({unnested}) JOIN classes ON classes.name = b.class_name ORDER BY rec, place"
    ).to_arrow_reader(_BATCH)
    written = list(writer.write_parts(BOXES, boxes, rows=_BOXES_PER_SEGMENT))
    counts = session.sql(
        f"SELECT rec, rid, count(*) AS n FROM ({unnested}) JOIN classes ON classes.name = b.class_name"
        " GROUP BY rec, rid ORDER BY rec, rid"
    ).to_arrow_reader(_BATCH)
    return [*written, *writer.write_parts(COUNTS, counts, rows=_BOXES_PER_SEGMENT)]


def _predictions(session: duckdb.DuckDBPyConnection, writer: Writer) -> Outcome | None:
    records = table(
        session, "SELECT aid, predicted_rec AS rec FROM numbered WHERE predicted_rec IS NOT NULL ORDER BY aid"
    )
    if not records.num_rows:
        return None
    written = [writer.write(RECORDS, records), *_write_records(session, "predictions", writer)]
    return Outcome(tuple(written), (), statistics_of(records, sources=(_source(written),)))


def _source(written: list[Written]) -> Source:
    return Source(tuple(Located(part.ref, part.path) for part in written))


def arrive_predictions(job: PredictJob) -> Outcome:
    """Runs a PredictJob; pictures that are not in the version, or that were not predicted, are left out."""
    writer = Writer(Path(job.folder))
    with open_session(job.limits) as session:
        session.execute(f"CREATE TEMP VIEW x AS SELECT * FROM {files_sql([job.exchange], numbered=True)}")
        for kind in (MEMBERS, ASSETS):
            paths = [segment.path for segment in job.version.of_kind(kind)]
            session.execute(f"CREATE TEMP VIEW {kind} AS SELECT * FROM {files_sql(paths)}")
        session.execute(
            "CREATE TEMP TABLE numbered AS SELECT x.file_row_number AS place, a.aid,"
            f" {job.first_rec} - 1 + row_number() OVER (ORDER BY a.aid) AS predicted_rec FROM x"
            " JOIN assets a ON a.digest = x.digest WHERE x.predictions IS NOT NULL"
            " AND a.aid IN (SELECT aid FROM members)"
        )
        session.execute("CREATE TEMP VIEW placed AS SELECT * FROM numbered n JOIN x ON x.file_row_number = n.place")
        classes = {"name": pa.array(list(job.rids), pa.string()), "rid": pa.array(list(job.rids.values()), pa.int64())}
        session.register("classes", pa.table(classes))
        found = _predictions(session, writer)
    if found is not None:
        return found
    empty = Writer(Path(job.folder)).write(
        RECORDS, pa.table({"aid": pa.array([], "int64"), "rec": pa.array([], "int64")})
    )
    return Outcome((empty,), (), Statistics())
