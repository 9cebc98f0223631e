"""Thumbnails: which small picture is whose. The pictures themselves are blobs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lodeworks_formats.segments import SHRUNK_SCHEMA, THUMBNAILS_SCHEMA

from lodeworks_controller.domain.manifest import ASSETS, THUMBNAILS
from lodeworks_controller.errors import BadOutputError
from lodeworks_controller.storage.segments.curation_jobs import ShrunkJob, ThumbnailsJob
from lodeworks_controller.storage.segments.job_types import Located, Source, Written
from lodeworks_controller.storage.segments.reading import Ids, ids_of, read_members, rows_of
from lodeworks_controller.storage.segments.signals import rows_about
from lodeworks_controller.storage.segments.written import Writer


def thumbnails_of(segments: Sequence[Located], aids: Ids) -> dict[int, bytes]:
    """Returns the digest of each picture's thumbnail, of those that have one."""
    if not segments:
        return {}
    rows = rows_about(segments, THUMBNAILS, aids, columns=["thumbnail"])
    found = zip(rows.column("aid").to_pylist(), rows.column("thumbnail").to_pylist(), strict=True)
    return {aid: digest for aid, digest in found if digest is not None}


def take_shrunk(job: ShrunkJob) -> Written:
    """Runs a ShrunkJob; raises BadOutputError for what cannot be believed."""
    try:
        shrunk = pq.read_table(job.shrunk, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise BadOutputError(f"the thumbnails cannot be read ({error})", file="thumbnails") from error
    if not shrunk.schema.equals(SHRUNK_SCHEMA):
        raise BadOutputError("the thumbnails have other columns than they should", file="thumbnails")
    assets = rows_of(job.sources, ASSETS, _members(job.sources), columns=["aid", "digest"])
    joined = shrunk.join(assets, "digest", join_type="inner").combine_chunks()
    if joined.num_rows != shrunk.num_rows or len(set(ids_of(joined.column("aid")).tolist())) != joined.num_rows:
        raise BadOutputError(
            "the thumbnails name a picture twice, or one that is not in the dataset", file="thumbnails"
        )
    rows = joined.sort_by("aid").select(THUMBNAILS_SCHEMA.names)
    Path(job.digests_path).write_bytes(b"".join(sorted(set(rows.column("thumbnail").drop_null().to_pylist()))))
    return Writer(Path(job.folder)).write(THUMBNAILS, rows)


def write_thumbnails(job: ThumbnailsJob) -> int:
    """Runs a ThumbnailsJob and returns how many there are."""
    found = sorted(set(thumbnails_of(job.thumbnails, _members(job.sources)).values()))
    Path(job.path).write_bytes(b"".join(found))
    return len(found)


def _members(sources: Sequence[Source]) -> Ids:
    return np.unique(np.concatenate([ids_of(read_members(one, columns=["aid"]).column("aid")) for one in sources]))
