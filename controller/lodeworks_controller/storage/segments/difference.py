"""What is different between versions: for people to read, and for the collection of what only the deleted had."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lodeworks_controller.domain.curation import Difference, PictureDifference
from lodeworks_controller.domain.manifest import ASSETS
from lodeworks_controller.storage.segments.curation_jobs import DiffJob, OrphansJob
from lodeworks_controller.storage.segments.likeness import describe
from lodeworks_controller.storage.segments.reading import (
    Ids,
    IdSet,
    batches_of,
    ids_of,
    ids_or_none,
    read_members,
    unique,
)
from lodeworks_controller.storage.segments.thumbnails import thumbnails_of


def diff_members(job: DiffJob) -> Difference:
    """Runs a DiffJob; a picture that is both re-annotated and re-tagged counts as re-annotated."""
    before, after = read_members(job.before), read_members(job.after)
    old, new = ids_of(before.column("aid")), ids_of(after.column("aid"))
    removed, added = old[~IdSet(new).contains(old)], new[~IdSet(old).contains(new)]
    both = np.flatnonzero(IdSet(old).contains(new))
    earlier = np.searchsorted(old, new[both])
    other = ids_or_none(before.column("rec"))[earlier] != ids_or_none(after.column("rec"))[both]
    retagged = ~other & _differ(before.column("tags"), earlier, after.column("tags"), both)
    kinds = {"added": added, "removed": removed, "reannotated": new[both[other]], "retagged": new[both[retagged]]}
    shown = np.unique(np.concatenate([found[: job.limit] for found in kinds.values()]))
    known = describe((job.before, job.after), shown)
    return Difference(
        added=len(added),
        removed=len(removed),
        reannotated=int(other.sum()),
        retagged=int(retagged.sum()),
        unchanged=len(both) - int(other.sum()) - int(retagged.sum()),
        shown=tuple(
            PictureDifference(kind, *known[aid]) for kind, found in kinds.items() for aid in found[: job.limit].tolist()
        ),
    )


def _differ(before: Any, earlier: Ids, after: Any, later: Ids) -> Any:
    old = before.combine_chunks().take(pa.array(earlier))
    new = after.combine_chunks().take(pa.array(later))
    found = pc.not_equal(pc.list_value_length(old), pc.list_value_length(new)).to_numpy(zero_copy_only=False).copy()
    if len(old.flatten()) and len(new.flatten()):
        for place in np.flatnonzero(~found & (pc.list_value_length(old).to_numpy(zero_copy_only=False) > 0)).tolist():
            found[place] = old[place].as_py() != new[place].as_py()
    return found


def write_orphans(job: OrphansJob) -> int:
    """Runs an OrphansJob and returns how many there are: upright copies too, each digest once."""
    dead = [ids_of(read_members(source, columns=["aid"]).column("aid")) for source in job.dead]
    aids = np.unique(np.concatenate(dead)) if dead else np.zeros(0, dtype=np.int64)
    for source in job.living:
        aids = aids[~IdSet(ids_of(read_members(source, columns=["aid"]).column("aid"))).contains(aids)]
    count = 0
    with Path(job.path).open("wb") as stream:
        segments = unique(job.dead, ASSETS)
        for batch in batches_of(segments, IdSet(aids), columns=["aid", "digest", "derived_digest"]):
            found = {*batch.column("digest").to_pylist(), *batch.column("derived_digest").drop_null().to_pylist()}
            found.update(thumbnails_of(job.thumbnails, ids_of(batch.column("aid"))).values())
            stream.write(b"".join(sorted(found)))
            count += len(found)
    return count
