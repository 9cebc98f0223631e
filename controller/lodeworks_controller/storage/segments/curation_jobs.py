"""Jobs that keep datasets in order, by name, and what they take. Light: neither DuckDB nor Arrow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lodeworks_controller.domain.curation import Difference, Leaks
from lodeworks_controller.domain.expression import Condition
from lodeworks_controller.domain.manifest import SIGNALS
from lodeworks_controller.storage.segments.job_types import Beside, Limits, Located, Outcome, Source, Written
from lodeworks_controller.storage.segments.pool import Work

_HERE: Final = __name__.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class TagJob:
    """Adds tags to pictures or boxes and takes others away.

    ``box_rids`` None means tags of pictures; else the raw classes of the boxes. Records are never edited: boxes with
    other tags become new records, numbered from ``first_rec``, for which a range as long as the annotated members is
    reserved.
    """

    source: Source
    condition: Condition | None
    rids: Mapping[str, tuple[int, ...]]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    box_rids: tuple[int, ...] | None
    first_rec: int
    folder: str
    beside: Beside | None = None


@dataclass(frozen=True, slots=True)
class DedupJob:
    """Keeps one of each group of members whose perceptual hashes differ in at most so many bits."""

    source: Source
    signals: tuple[Located, ...]
    distance: int
    folder: str


@dataclass(frozen=True, slots=True)
class DiffJob:
    """Compares the members of two versions, and names some that differ."""

    before: Source
    after: Source
    limit: int


@dataclass(frozen=True, slots=True)
class LeaksJob:
    """Finds what several versions share; only identical pictures when ``distance`` is None."""

    parts: tuple[Source, ...]
    signals: tuple[Located, ...]
    distance: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class UnmeasuredJob:
    """Writes members of whose pictures segments of a kind say nothing as a version; nothing when there are none."""

    sources: tuple[Source, ...]
    known: tuple[Located, ...]
    folder: str
    kind: str = SIGNALS


@dataclass(frozen=True, slots=True)
class MeasuredJob:
    """Checks what a worker measured of members of versions, and turns it into a segment of signals."""

    measured: str
    sources: tuple[Source, ...]
    folder: str


@dataclass(frozen=True, slots=True)
class SignalsJob:
    """Writes the signals of a version's pictures by digest, for programs that know no ids."""

    source: Source
    signals: tuple[Located, ...]
    path: str


@dataclass(frozen=True, slots=True)
class ShrunkJob:
    """Checks thumbnails of members of versions, and turns them into a segment.

    ``digests_path`` is a new file: the digests of the thumbnails, 32 bytes each.
    """

    shrunk: str
    sources: tuple[Source, ...]
    folder: str
    digests_path: str


@dataclass(frozen=True, slots=True)
class ThumbnailsJob:
    """Writes the digests of the thumbnails of members of versions into a file, 32 bytes each."""

    sources: tuple[Source, ...]
    thumbnails: tuple[Located, ...]
    path: str


@dataclass(frozen=True, slots=True)
class OrphansJob:
    """Writes the digests of pictures of the dead that none of the living has, thumbnails with them, 32 bytes each."""

    dead: tuple[Source, ...]
    living: tuple[Source, ...]
    path: str
    limits: Limits
    thumbnails: tuple[Located, ...] = ()


@dataclass(frozen=True, slots=True)
class Thinned:
    """What dedup kept, and how many it left out."""

    outcome: Outcome
    removed: int


TAG: Final[Work[TagJob, Outcome]] = Work(f"{_HERE}.tagging", "tag_members")
DEDUP: Final[Work[DedupJob, Thinned]] = Work(f"{_HERE}.likeness", "dedup_members")
LEAKS: Final[Work[LeaksJob, Leaks]] = Work(f"{_HERE}.likeness", "find_leaks")
DIFF: Final[Work[DiffJob, Difference]] = Work(f"{_HERE}.difference", "diff_members")
UNMEASURED: Final[Work[UnmeasuredJob, Outcome | None]] = Work(f"{_HERE}.signals", "find_unmeasured")
MEASURED: Final[Work[MeasuredJob, Written]] = Work(f"{_HERE}.signals", "take_measured")
SHRUNK: Final[Work[ShrunkJob, Written]] = Work(f"{_HERE}.thumbnails", "take_shrunk")
THUMBNAILS_OF: Final[Work[ThumbnailsJob, int]] = Work(f"{_HERE}.thumbnails", "write_thumbnails")
SIGNALS_OF: Final[Work[SignalsJob, int]] = Work(f"{_HERE}.signals", "write_signals")
ORPHANS: Final[Work[OrphansJob, int]] = Work(f"{_HERE}.difference", "write_orphans")
