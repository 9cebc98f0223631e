"""Jobs on segments: what goes to a process of the pool and what comes back. Light: neither DuckDB nor Arrow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lodeworks_formats.manifest import SegmentRef

from lodeworks_controller.domain.expression import Condition
from lodeworks_controller.domain.manifest import Statistics
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.domain.outcome import HasPrediction


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use; beyond the memory DuckDB spills into ``scratch``."""

    scratch: str
    memory_bytes: int = 400 * 1024 * 1024
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Located:
    """A segment and the file that holds it."""

    ref: SegmentRef
    path: str


@dataclass(frozen=True, slots=True)
class Written:
    """A segment that a job wrote and that no store knows yet."""

    ref: SegmentRef
    path: str


@dataclass(frozen=True, slots=True)
class Source:
    """The segments of a version or a prediction set, where a job can read them."""

    segments: tuple[Located, ...]

    def of_kind(self, kind: str) -> tuple[Located, ...]:
        """Returns the segments of one kind, in the manifest's order."""
        return tuple(segment for segment in self.segments if segment.ref.kind == kind)

    @property
    def refs(self) -> tuple[SegmentRef, ...]:
        """Returns the segments without their places."""
        return tuple(segment.ref for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A new version: the segments that were written, those it shares with its parents, its figures."""

    written: tuple[Written, ...]
    shared: tuple[SegmentRef, ...]
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an import made: the version, and its predictions when there were any."""

    version: Outcome
    predictions: Outcome | None


@dataclass(frozen=True, slots=True)
class Beside:
    """A prediction set that conditions ask about: its segments, and rid → class name under the project's map."""

    predictions: Source
    classes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilterJob:
    """Keeps the members that fulfil a condition."""

    source: Source
    condition: Condition
    rids: Mapping[str, tuple[int, ...]]
    folder: str
    limits: Limits
    beside: Beside | None = None


@dataclass(frozen=True, slots=True)
class ShortlistJob:
    """Writes the members that fulfil a condition into a file, for pages of them."""

    source: Source
    condition: Condition
    rids: Mapping[str, tuple[int, ...]]
    path: str
    beside: Beside | None = None


@dataclass(frozen=True, slots=True)
class MergeJob:
    """Unites two versions; on pictures annotated differently, ``conflict`` says whose record stays."""

    host: Source
    guest: Source
    conflict: Conflict
    folder: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class ExcludeJob:
    """Keeps the members of the host whose pictures the others do not have."""

    host: Source
    others: tuple[Source, ...]
    folder: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class PartsJob:
    """Draws disjoint parts of given sizes by chance; what they leave over belongs to none."""

    source: Source
    sizes: tuple[int, ...]
    seed: int
    folder: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class DealJob:
    """Deals members out to disjoint parts of given sizes; what they leave over belongs to none.

    ``classes`` are the raw classes of each class whose share every part gets, None = by chance alone. With a
    ``distance``, pictures whose perceptual hashes differ in at most so many bits stay together, sizes or not.
    """

    source: Source
    sizes: tuple[int, ...]
    seed: int
    folder: str
    classes: tuple[tuple[int, ...], ...] | None = None
    distance: int | None = None
    signals: tuple[Located, ...] = ()


@dataclass(frozen=True, slots=True)
class SelectJob:
    """Keeps the pictures with the given digests; digests that are no members are left out."""

    source: Source
    digests: tuple[bytes, ...]
    folder: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class PositivesJob:
    """Counts for each group of raw classes the pictures with at least one of them."""

    source: Source
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class PageJob:
    """Reads up to ``limit`` members behind an aid; of those in the shortlist, if there is one.

    With predictions, each box says what became of it under ``compared``.
    """

    source: Source
    classes: Mapping[int, str]
    after_aid: int
    limit: int
    shortlist: str | None = None
    predictions: Source | None = None
    compared: HasPrediction = field(default_factory=HasPrediction)
    thumbnails: tuple[Located, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewJob:
    """Writes a view into a file: pictures by aid, boxes of the classes, in the order given."""

    source: Source
    classes: Mapping[int, str]
    class_names: tuple[str, ...]
    class_map_revision: int
    path: str
    limits: Limits
    predictions: Source | None = None


@dataclass(frozen=True, slots=True)
class DigestsJob:
    """Writes the digests of all pictures and of their upright copies into a file, 32 bytes each."""

    source: Source
    path: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class InspectJob:
    """Checks an exchange form, and finds which of its pictures the installation has already.

    ``digests_path`` is a new file: 32 bytes per picture or derived picture, each once.
    """

    exchange: str
    assets: tuple[str, ...]
    digests_path: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class ArriveJob:
    """Turns a checked exchange form into segments.

    Attributes:
        exchange: The file.
        assets: All assets segments of the installation.
        rids: Exact class name → raw class, for every name that occurs.
        first_aid: Start of a reserved range that has room for every new picture.
        first_rec: Start of a reserved range that has room for a record per annotated and per predicted picture.
        source: Name of the source, for provenance.
        import_id: What this import is known by, for provenance.
        folder: A new folder.
        limits: What the job may use.
    """

    exchange: str
    assets: tuple[Located, ...]
    rids: Mapping[str, int]
    first_aid: int
    first_rec: int
    source: str
    import_id: str
    folder: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class PredictJob:
    """Turns predictions on the pictures of a version into the records of a prediction set."""

    exchange: str
    version: Source
    rids: Mapping[str, int]
    first_rec: int
    folder: str
    limits: Limits
