"""What a worker measured of pictures: found missing, taken in, handed out. Readers take the first row of a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lodeworks_formats.segments import MEASURED_SCHEMA, SIGNALS_SCHEMA

from lodeworks_controller.domain.manifest import ASSETS, SIGNALS
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.storage.segments.curation_jobs import MeasuredJob, SignalsJob, UnmeasuredJob
from lodeworks_controller.storage.segments.job_types import Located, Outcome, Source, Written
from lodeworks_controller.storage.segments.membership import outcome_of
from lodeworks_controller.storage.segments.reading import Ids, IdSet, ids_of, read_members, rows_of
from lodeworks_controller.storage.segments.written import Writer


def signals_of(signals: Sequence[Located], aids: Ids, *, columns: Sequence[str]) -> Any:
    """Returns one row (aid, columns) for each of the pictures that is measured, by aid."""
    return rows_about(signals, SIGNALS, aids, columns=columns)


def rows_about(segments: Sequence[Located], kind: str, aids: Ids, *, columns: Sequence[str]) -> Any:
    """Returns one row (aid, columns) for each of the pictures that segments of a kind speak of, by aid."""
    found = rows_of((Source(tuple(segments)),), kind, aids, columns=["aid", *columns])
    held = ids_of(found.column("aid"))
    if np.all(held[1:] > held[:-1]):
        return found
    _, firsts = np.unique(held, return_index=True)
    return found.take(pa.array(firsts))


def find_unmeasured(job: UnmeasuredJob) -> Outcome | None:
    """Runs an UnmeasuredJob."""
    rows = pa.concat_tables([read_members(source) for source in job.sources]).combine_chunks()
    aids, firsts = np.unique(ids_of(rows.column("aid")), return_index=True)
    known = ids_of(rows_about(job.known, job.kind, aids, columns=()).column("aid"))
    fresh = ~IdSet(known).contains(aids)
    if not fresh.any():
        return None
    return outcome_of(rows.take(pa.array(firsts[fresh])), sources=job.sources, folder=job.folder)


def take_measured(job: MeasuredJob) -> Written:
    """Runs a MeasuredJob; raises BadOutputError for what cannot be believed."""
    try:
        measured = pq.read_table(job.measured, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise BadOutputError(f"the signals cannot be read ({error})", file="signals") from error
    if not measured.schema.equals(MEASURED_SCHEMA):
        raise BadOutputError("the signals have other columns than they should", file="signals")
    members = pa.concat_tables([read_members(source, columns=["aid"]) for source in job.sources])
    assets = rows_of(job.sources, ASSETS, np.unique(ids_of(members.column("aid"))), columns=["aid", "digest"])
    joined = measured.join(assets, "digest", join_type="inner").combine_chunks()
    if joined.num_rows != measured.num_rows or len(set(ids_of(joined.column("aid")).tolist())) != joined.num_rows:
        raise BadOutputError("the signals name a picture twice, or one that is not in the dataset", file="signals")
    for name in ("sharpness", "exposure", "contrast", "quality"):
        values = joined.column(name).drop_null().to_numpy()
        if not np.all(np.isfinite(values)):
            raise BadOutputError(f"{name} is no number for some picture", file="signals")
    rows = joined.sort_by("aid").append_column("imported_quality", pa.nulls(joined.num_rows, pa.float32()))
    return Writer(Path(job.folder)).write(SIGNALS, rows.select(SIGNALS_SCHEMA.names))


def write_signals(job: SignalsJob) -> int:
    """Runs a SignalsJob and returns how many pictures are measured."""
    aids = ids_of(read_members(job.source, columns=["aid"]).column("aid"))
    names = [name for name in MEASURED_SCHEMA.names if name != "digest"]
    found = signals_of(job.signals, aids, columns=names)
    held = ids_of(found.column("aid"))
    assets = rows_of((job.source,), ASSETS, held, columns=["aid", "digest"])
    table = pa.table({"digest": assets.column("digest"), **{name: found.column(name) for name in names}})
    pq.write_table(table.cast(MEASURED_SCHEMA), job.path, compression="zstd")
    return int(table.num_rows)
