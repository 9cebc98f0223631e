"""Exchange forms become segments: digests become aids, names become rids, every list of boxes a record.

New pictures and all records are numbered in the order of the exchange form, so that everything but the members can be
written as it is read, in flat memory.
"""
# ruff: noqa: S608 (SQL is put together from constants, numbers and quoted paths of our own)

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lodeworks_formats.segments import ASSETS_SCHEMA, BOXES_SCHEMA, COUNTS_SCHEMA, MEMBERS_SCHEMA, read_picture_batches
from numpy.typing import NDArray

from lodeworks_controller.domain.manifest import ASSETS, BOXES, COUNTS, MEMBERS, PROVENANCE, RECORDS, covering
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
from lodeworks_controller.storage.segments.reading import ids_of
from lodeworks_controller.storage.segments.session import files_sql, open_session, show
from lodeworks_controller.storage.segments.statistics import statistics_of
from lodeworks_controller.storage.segments.written import Writer

_ROWS_PER_SEGMENT = 1_000_000
_NONE = -1
_WORDS = ("tags", "split")
_ASSET_COLUMNS = ("extension", *(name for name in ASSETS_SCHEMA.names if name not in ("aid", "format")))

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What each picture of an exchange form is called, by its place there; -1 = has none."""

    aids: Ids
    fresh: NDArray[np.bool_]
    recs: Ids
    predicted_recs: Ids


def arrive(job: ArriveJob) -> Arrival:
    """Runs an ArriveJob; the same job writes the same bytes."""
    exchange, writer = Path(job.exchange), Writer(Path(job.folder), class_names=_names(job.rids))
    numbers = _number(job)
    members = _members(exchange, numbers)
    written = [
        *writer.write_parts(ASSETS, _assets(exchange, numbers), rows=_ROWS_PER_SEGMENT),
        *_provenance(exchange, numbers, job, writer),
        writer.write(MEMBERS, members),
        *_records(exchange, "boxes", numbers.recs, job.rids, writer),
    ]
    known = _shared_assets(job, numbers)
    statistics = statistics_of(members, sources=(_source(written), Source(known)))
    version = Outcome(tuple(written), tuple(segment.ref for segment in known), statistics)
    predictions = None
    if (numbers.predicted_recs != _NONE).any():
        predictions = _prediction_set(exchange, numbers.aids, numbers.predicted_recs, job.rids, writer)
    return Arrival(version, predictions)


def arrive_predictions(job: PredictJob) -> Outcome:
    """Runs a PredictJob; pictures that are not in the version, or that were not predicted, are left out."""
    exchange = Path(job.exchange)
    predicted = _present(exchange, "predictions")
    aids = np.full(len(predicted), _NONE, dtype=np.int64)
    with open_session(job.limits) as session:
        for kind in (MEMBERS, ASSETS):
            show(session, kind, job.version.of_kind(kind), kind=kind)
        _look_up(session, job.exchange, "SELECT aid, digest FROM assets WHERE aid IN (SELECT aid FROM members)", aids)
    recs = _count_up(predicted & (aids != _NONE), first=job.first_rec)
    writer = Writer(Path(job.folder), class_names=_names(job.rids))
    return _prediction_set(exchange, aids, recs, job.rids, writer)


def _number(job: ArriveJob) -> _Numbers:
    exchange = Path(job.exchange)
    annotated, predicted = _present(exchange, "boxes"), _present(exchange, "predictions")
    aids = np.full(len(annotated), _NONE, dtype=np.int64)
    if job.assets:
        files = files_sql([segment.path for segment in job.assets])
        with open_session(job.limits) as session:
            _look_up(session, job.exchange, f"SELECT aid, digest FROM {files}", aids)
    fresh = aids == _NONE
    aids = np.where(fresh, _count_up(fresh, first=job.first_aid), aids)
    recs = _count_up(annotated, first=job.first_rec)
    after = job.first_rec + int(annotated.sum())
    return _Numbers(aids, fresh, recs, _count_up(predicted, first=after))


def _present(exchange: Path, column: str) -> NDArray[np.bool_]:
    """Returns which pictures have a list, an empty one too; reads only one column of it."""
    leaf = f"{column}.list.element.difficult"
    with pq.ParquetFile(exchange) as file:
        parts = [batch.column(0).is_valid() for batch in file.iter_batches(columns=[leaf])]
    found = [part.to_numpy(zero_copy_only=False) for part in parts]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.bool_)


def _look_up(session: duckdb.DuckDBPyConnection, exchange: str, assets: str, aids: Ids) -> None:
    """Writes the aids of known pictures to their places."""
    found = session.sql(
        f"SELECT x.file_row_number AS place, a.aid FROM ({assets}) a"
        f" JOIN {files_sql([exchange], numbered=True)} x ON x.digest = a.digest"
    ).to_arrow_reader()
    for batch in found:
        aids[ids_of(batch.column(0))] = ids_of(batch.column(1))


def _count_up(where: NDArray[np.bool_], *, first: int) -> Ids:
    """Returns first, first + 1, … where it is true, and -1 elsewhere."""
    return np.where(where, first - 1 + np.cumsum(where, dtype=np.int64), _NONE)


def _slices(exchange: Path, *columns: str) -> Iterator[tuple[int, Any]]:
    """Yields batches of some columns of the exchange form, with the place of their first picture."""
    place = 0
    for batch in read_picture_batches(exchange, columns=columns):
        yield place, batch
        place += batch.num_rows


def _assets(exchange: Path, numbers: _Numbers) -> Iterator[Any]:
    for place, batch in _slices(exchange, *_ASSET_COLUMNS):
        fresh = numbers.fresh[place : place + batch.num_rows]
        if not fresh.any():
            continue
        aids = pa.array(numbers.aids[place : place + batch.num_rows])
        columns = {"aid": aids, "format": batch.column("extension")}
        table = pa.table([columns.get(name, _column(batch, name)) for name in ASSETS_SCHEMA.names], ASSETS_SCHEMA.names)
        yield table.filter(pa.array(fresh))


def _column(batch: Any, name: str) -> Any:
    return batch.column(name) if name in batch.schema.names else None


def _provenance(exchange: Path, numbers: _Numbers, job: ArriveJob, writer: Writer) -> list[Written]:
    """Writes the names of new pictures as they come; those of known ones, whose aids are out of order, apart."""
    known: list[Any] = []
    fresh = writer.write_parts(PROVENANCE, _fresh_names(exchange, numbers, job, known), rows=_ROWS_PER_SEGMENT)
    rest = pa.concat_tables(known).sort_by([("aid", "ascending"), ("name", "ascending")]) if known else None
    return [*fresh, *([] if rest is None else [writer.write(PROVENANCE, _from(job, rest))])]


def _from(job: ArriveJob, names: Any) -> Any:
    """Returns names with where they come from."""
    source, import_id = (pa.repeat(value, names.num_rows) for value in (job.source, job.import_id))
    return names.append_column("source", source).append_column("import_id", import_id)


def _fresh_names(exchange: Path, numbers: _Numbers, job: ArriveJob, known: list[Any]) -> Iterator[Any]:
    for place, batch in _slices(exchange, "names"):
        names = batch.column("names")
        lengths = names.value_lengths().fill_null(0).to_numpy()
        here = slice(place, place + batch.num_rows)
        rows = pa.table({"aid": np.repeat(numbers.aids[here], lengths), "name": names.flatten()})
        rows = rows.group_by(["aid", "name"]).aggregate([]).sort_by([("aid", "ascending"), ("name", "ascending")])
        new = pc.greater_equal(rows.column("aid"), job.first_aid) if numbers.fresh.any() else pc.is_null(rows.column(0))
        yield _from(job, rows.filter(new))
        if not numbers.fresh[here].all():
            known.append(rows.filter(pc.invert(new)))


def _members(exchange: Path, numbers: _Numbers) -> Any:
    kind = MEMBERS_SCHEMA.field("tags").type
    tags = [_tags(batch.column("tags"), batch.column("split")).cast(kind) for _, batch in _slices(exchange, *_WORDS)]
    recs = pa.array(numbers.recs, mask=numbers.recs == _NONE)
    table = pa.table({"aid": numbers.aids, "rec": recs, "tags": pa.chunked_array(tags, kind)})
    return table if numbers.fresh.all() else table.sort_by("aid")


def _tags(tags: Any, splits: Any) -> Any:
    """Returns tags with the split among them, each once, in order."""
    if splits.null_count == len(splits) and not len(tags.flatten()):
        return tags
    rows = zip(tags.to_pylist(), splits.to_pylist(), strict=True)
    merged = [sorted({*row, *([] if split is None else [SPLIT_TAG + split])}) for row, split in rows]
    return pa.array(merged, pa.list_(pa.string()))


def _shared_assets(job: ArriveJob, numbers: _Numbers) -> tuple[Located, ...]:
    known = numbers.aids[~numbers.fresh]
    if not len(known):
        return ()
    refs = (segment.ref for segment in job.assets)
    wanted = {ref.digest for ref in covering(refs, low=int(known.min()), high=int(known.max()))}
    return tuple(segment for segment in job.assets if segment.ref.digest in wanted)


def _records(exchange: Path, column: str, recs: Ids, rids: Mapping[str, int], writer: Writer) -> list[Written]:
    """Writes boxes and the counts beside them; pictures without a record are left out."""
    boxes = writer.write_parts(BOXES, _boxes(exchange, column, recs, rids), rows=_ROWS_PER_SEGMENT)
    counts = writer.write_parts(COUNTS, counts_of(boxes), rows=_ROWS_PER_SEGMENT)
    return [*boxes, *counts]


def _boxes(exchange: Path, column: str, recs: Ids, rids: Mapping[str, int]) -> Iterator[Any]:
    numbered = pa.array(list(rids), pa.string()), np.array(list(rids.values()), dtype=np.int64)
    for place, batch in _slices(exchange, column):
        here = recs[place : place + batch.num_rows]
        lists = batch.column(column).filter(pa.array(here != _NONE))
        flat = lists.flatten()
        if not len(flat):
            continue
        lengths = lists.value_lengths().fill_null(0).to_numpy()
        values = dict(zip([field.name for field in flat.type], flat.flatten(), strict=True))
        places = pc.index_in(values.pop("class_name"), value_set=numbered[0]).to_numpy()
        values |= {"rec": np.repeat(here[here != _NONE], lengths), "rid": numbered[1][places]}
        yield pa.table([values[name] for name in BOXES_SCHEMA.names], BOXES_SCHEMA.names)


def counts_of(boxes: Sequence[Written]) -> Iterator[Any]:
    """Yields boxes per record and raw class, from what was just written; a record never lies in two tables."""
    rest: list[Any] = []  # of the last record, of which more may follow
    for part in boxes:
        with pq.ParquetFile(part.path) as file:
            for batch in file.iter_batches(columns=["rec", "rid"]):
                rows = pa.concat_tables([*rest, pa.Table.from_batches([batch])]).combine_chunks()
                recs = ids_of(rows.column("rec"))
                whole = int(np.searchsorted(recs, recs[-1]))
                rest = [rows.slice(whole)]
                yield _counted(rows.slice(0, whole))
    yield from map(_counted, rest)


def _counted(rows: Any) -> Any:
    counted = rows.group_by(["rec", "rid"]).aggregate([([], "count_all")])
    ordered = counted.sort_by([("rec", "ascending"), ("rid", "ascending")]).rename_columns(["rec", "rid", "n"])
    return ordered.cast(COUNTS_SCHEMA)


def _prediction_set(exchange: Path, aids: Ids, recs: Ids, rids: Mapping[str, int], writer: Writer) -> Outcome:
    predicted = recs != _NONE
    records = pa.table({"aid": aids[predicted], "rec": recs[predicted]}).sort_by("aid")
    written = [writer.write(RECORDS, records), *_records(exchange, "predictions", recs, rids, writer)]
    return Outcome(tuple(written), (), statistics_of(records, sources=(_source(written),)))


def _names(rids: Mapping[str, int]) -> dict[int, str]:
    return {rid: name for name, rid in rids.items()}


def _source(written: Sequence[Written]) -> Source:
    return Source(tuple(Located(part.ref, part.path) for part in written))
