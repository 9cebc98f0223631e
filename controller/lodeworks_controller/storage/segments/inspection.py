"""Exchange forms as they come in: nothing in them is believed before it was looked at here."""
# ruff: noqa: S608 (SQL is put together from constants, numbers and quoted paths of our own)

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from lodeworks_formats.errors import FormatError
from lodeworks_formats.outlines import check_outline
from lodeworks_formats.pictures import EXTENSIONS
from lodeworks_formats.segments import pictures_metadata

from lodeworks_controller.domain.object_class import CLASS_NAME_LENGTH
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.service.segments import Inspection
from lodeworks_controller.storage.segments.job_types import InspectJob
from lodeworks_controller.storage.segments.session import files_sql, open_session

_TOLERANCE_PX = 1.01
_NAMES_MANY = 20_000
_PICTURE_RULES = (
    ("width < 1 OR height < 1 OR size_bytes < 1", "has no width, height or size"),
    ("orientation NOT BETWEEN 1 AND 8 OR channels NOT BETWEEN 1 AND 4", "has an orientation or channels out of range"),
    (f"extension NOT IN {EXTENSIONS}", "has an unknown extension"),
    (
        "octet_length(digest) <> 32 OR octet_length(derived_digest) <> 32",
        "has a digest of another length than 32 bytes",
    ),
    ("len(tags) > 1000 OR len(names) > 100000", "has more tags or names than anybody can mean"),
)
_OUTSIDE = (
    f"b.rotation = 0 AND (b.x < -{_TOLERANCE_PX} OR b.y < -{_TOLERANCE_PX}"
    f" OR b.x + b.w > width + {_TOLERANCE_PX} OR b.y + b.h > height + {_TOLERANCE_PX})"
)
_BOX_RULES = (
    ("NOT (isfinite(b.x) AND isfinite(b.y) AND isfinite(b.w) AND isfinite(b.h) AND isfinite(b.rotation))", "no number"),
    ("b.w <= 0 OR b.h <= 0", "no area"),
    (_OUTSIDE, "an edge outside of the picture"),
    ("b.score IS NOT NULL AND NOT (b.score BETWEEN 0 AND 1)", "a score that is not between 0 and 1"),
    ("b.box_quality IS NOT NULL AND NOT isfinite(b.box_quality)", "a quality that is no number"),
)


def inspect_exchange(job: InspectJob) -> Inspection:
    """Runs an InspectJob; raises BadOutputError with the row."""
    try:
        pictures_metadata(Path(job.exchange))
    except FormatError as error:
        raise BadOutputError(error.message, file="exchange") from error
    try:
        with open_session(job.limits) as session:
            return _inspect(session, job)
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException):
            raise
        raise BadOutputError(f"the exchange form cannot be read ({error})", file="exchange") from error


def _inspect(session: duckdb.DuckDBPyConnection, job: InspectJob) -> Inspection:
    session.execute(f"CREATE TEMP VIEW x AS SELECT * FROM {files_sql([job.exchange], numbered=True)}")
    _check_pictures(session)
    for column in ("boxes", "predictions"):
        _check_boxes(session, column)
        _check_outlines(Path(job.exchange), column)
    pictures, annotated, predicted = session.sql("SELECT count(*), count(boxes), count(predictions) FROM x").fetchall()[
        0
    ]
    _write_digests(session, Path(job.digests_path))
    known = count_known(session, job.assets)
    return Inspection(
        pictures=pictures,
        new_pictures=pictures - known,
        annotated=annotated,
        predicted=predicted,
        boxes=_class_counts(Path(job.exchange), "boxes"),
        prediction_boxes=_class_counts(Path(job.exchange), "predictions"),
    )


def _check_pictures(session: duckdb.DuckDBPyConnection) -> None:
    cases = " ".join(f"WHEN {rule} THEN '{what}'" for rule, what in _PICTURE_RULES)
    wrong = session.sql(
        f"SELECT file_row_number, hex(digest), CASE {cases} END AS what FROM x WHERE what IS NOT NULL LIMIT 1"
    ).fetchall()
    if wrong:
        row, digest, what = wrong[0]
        raise BadOutputError(f"picture {digest.lower()} {what}", file="exchange", line=row + 1)
    twice = session.sql(
        "SELECT hex(digest), last FROM"
        " (SELECT digest, max(file_row_number) AS last FROM x GROUP BY digest HAVING count(*) > 1 LIMIT 1)"
    )
    for digest, row in twice.fetchall():
        raise BadOutputError(f"picture {digest.lower()} comes twice", file="exchange", line=row + 1)


def _check_boxes(session: duckdb.DuckDBPyConnection, column: str) -> None:
    rules = (*_BOX_RULES, ("b.score IS NULL", "no score")) if column == "predictions" else _BOX_RULES
    cases = " ".join(f"WHEN {rule} THEN '{what}'" for rule, what in rules)
    wrong = session.sql(
        f"SELECT file_row_number, CASE {cases} END AS what"
        f" FROM (SELECT file_row_number, width, height, unnest({column}) AS b FROM x) WHERE what IS NOT NULL LIMIT 1"
    ).fetchall()
    for row, what in wrong:
        raise BadOutputError(f"a box in {column} has {what}", file="exchange", line=row + 1)


def _check_outlines(exchange: Path, column: str) -> None:
    """Refuses outlines that a later export could not write; reading the column costs nothing where there are none."""
    with pq.ParquetFile(exchange) as file:
        for batch in file.iter_batches(columns=[f"{column}.list.element.shape"], use_threads=False):
            texts = batch.column(0).flatten().flatten()[0]
            for text in texts.drop_null().to_pylist() if texts.null_count < len(texts) else ():
                try:
                    check_outline(json.loads(text))
                except (ValueError, RecursionError, FormatError) as error:
                    message = f"a box in {column} has an outline that is none ({error})"
                    raise BadOutputError(message, file="exchange") from error


def _class_counts(exchange: Path, column: str) -> dict[str, int]:
    """Returns boxes by exact class name; by Arrow, since DuckDB 2.0 fails on some dictionaries of nested text."""
    found: Counter[str] = Counter()
    with pq.ParquetFile(exchange) as file:
        for batch in file.iter_batches(columns=[f"{column}.list.element.class_name"], use_threads=False):
            names = batch.column(0).flatten().flatten()[0]
            found.update({entry["values"]: entry["counts"] for entry in names.value_counts().to_pylist()})
            if len(found) > _NAMES_MANY:
                raise BadOutputError(f"{column} name more than {_NAMES_MANY} classes", file="exchange")
    for name in found:
        if not name or len(name) > CLASS_NAME_LENGTH or name != name.strip() or not name.isprintable():
            wanted = f"1 to {CLASS_NAME_LENGTH} printable characters without blanks around them"
            raise BadOutputError(f"a box in {column} has the class name {name!r}, not {wanted}", file="exchange")
    return dict(found)


def _write_digests(session: duckdb.DuckDBPyConnection, path: Path) -> None:
    found = session.sql(
        "SELECT digest FROM x UNION SELECT derived_digest FROM x WHERE derived_digest IS NOT NULL ORDER BY 1"
    ).to_arrow_reader()
    with path.open("wb") as stream:
        for batch in found:
            stream.write(b"".join(batch.column(0).to_pylist()))


def count_known(session: duckdb.DuckDBPyConnection, assets: Sequence[str]) -> int:
    """Returns how many pictures of ``x`` are in the assets segments."""
    if not assets:
        return 0
    query = f"SELECT count(*) FROM {files_sql(assets)} a JOIN x ON x.digest = a.digest"
    return int(session.sql(query).fetchall()[0][0])
