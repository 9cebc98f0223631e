"""What the services ask of the storage of segments. Everything heavy happens there, in other processes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lodeworks_formats.manifest import SegmentRef, VersionManifest, canonical_json
from lodeworks_formats.pictures import Picture

from lodeworks_controller.domain.expression import Condition
from lodeworks_controller.domain.manifest import Derived
from lodeworks_controller.domain.operation import Conflict
from lodeworks_controller.domain.outcome import HasPrediction, Outcome

EachDigests = Callable[[Sequence[str]], Awaitable[None]]
"""Takes a batch of digests; it may refuse by raising."""

Rids = Mapping[str, tuple[int, ...]]
"""Class name as a condition spells it → raw classes; "" → all classes of the project."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an exchange form holds. Counts of boxes are by exact class name."""

    pictures: int
    new_pictures: int
    annotated: int
    predicted: int
    boxes: Mapping[str, int]
    prediction_boxes: Mapping[str, int]

    @property
    def class_names(self) -> tuple[str, ...]:
        """All names that occur, in order."""
        return tuple(sorted({*self.boxes, *self.prediction_boxes}))


@dataclass(frozen=True, slots=True)
class Arrived:
    """What an import made: the version, and its predictions when there were any; ``assets`` are new."""

    version: Derived
    predictions: Derived | None
    assets: tuple[SegmentRef, ...]


@dataclass(frozen=True, slots=True)
class PredictionsBeside:
    """A prediction set that conditions ask about, and rid → class name under the project's map."""

    manifest: VersionManifest
    classes: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class PictureOutcomes:
    """What became of a picture's boxes and predictions, in their order; None = not compared."""

    boxes: tuple[Outcome | None, ...] = ()
    predictions: tuple[Outcome | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Pictures with their aids; ``after_aid`` for the next page, None when this was the last.

    By aid: ``outcomes`` where predictions are shown, ``thumbnails`` (digests) where they were asked for and are made.
    """

    pictures: tuple[tuple[int, Picture], ...]
    after_aid: int | None
    outcomes: Mapping[int, PictureOutcomes] = field(default_factory=dict)
    thumbnails: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PageWish:
    """Which page of a version, and what to show on it.

    Attributes:
        after_aid: Pictures behind this one.
        limit: At most so many.
        condition: Only pictures that fulfil it; None = all.
        rids: Raw classes that the names in the condition mean.
        beside: What a condition on predictions is asked of.
        predictions: A prediction set to show beside.
        compared: From which score and IoU its predictions count.
        thumbnails: Segments that name thumbnails.
    """

    after_aid: int
    limit: int
    condition: Condition | None = None
    rids: Rids = field(default_factory=dict)
    beside: PredictionsBeside | None = None
    predictions: VersionManifest | None = None
    compared: HasPrediction = field(default_factory=HasPrediction)
    thumbnails: Sequence[SegmentRef] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was stored as a blob, and how many pictures it holds."""

    digest: str
    size_bytes: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Dealing:
    """How members are dealt out, where not by chance alone.

    Attributes:
        classes: Raw classes of each class whose share every part gets; None = classes do not matter.
        distance: Pictures whose perceptual hashes differ in at most so many bits stay together; None = only a picture
            with itself.
        signals: Segments that hold the hashes.
    """

    classes: tuple[tuple[int, ...], ...] | None = None
    distance: int | None = None
    signals: Sequence[SegmentRef] = ()


class Segments(Protocol):
    """Reads and writes segments. What it answers is stored as blobs, durable, and referred to by nobody yet."""

    async def filter(
        self, source: VersionManifest, condition: Condition, *, rids: Rids, beside: PredictionsBeside | None = None
    ) -> Derived:
        """Keeps the pictures that fulfil the condition."""
        ...

    async def merge(self, host: VersionManifest, guest: VersionManifest, *, conflict: Conflict) -> Derived:
        """Unites two versions; raises ConflictError MERGE_CONFLICT when nobody may win."""
        ...

    async def exclude(self, host: VersionManifest, others: Sequence[VersionManifest]) -> Derived:
        """Keeps the pictures that the others do not have."""
        ...

    async def draw(
        self, source: VersionManifest, *, sizes: Sequence[int], seed: int, how: Dealing | None = None
    ) -> tuple[Derived, ...]:
        """Draws disjoint parts by chance, or deals them out; raises ConflictError SIGNALS_MISSING."""
        ...

    async def select(self, source: VersionManifest, digests: Sequence[str]) -> Derived:
        """Keeps the pictures with these digests."""
        ...

    async def positives(self, source: VersionManifest, groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Returns for each group of raw classes on how many pictures one of them is."""
        ...

    async def page(self, source: VersionManifest, wish: PageWish, *, classes: Mapping[int, str]) -> Page:
        """Returns pictures behind an aid with their boxes."""
        ...

    async def view(
        self,
        source: VersionManifest,
        *,
        classes: Mapping[int, str],
        class_names: Sequence[str],
        class_map_revision: int,
        predictions: VersionManifest | None = None,
    ) -> Stored:
        """Writes a view."""
        ...

    async def digests(self, source: VersionManifest, *, each: EachDigests) -> None:
        """Hands over the digests of all pictures, and of their upright copies."""
        ...

    async def inspect(self, exchange: str, *, assets: Sequence[SegmentRef], each: EachDigests) -> Inspection:
        """Checks an exchange form and hands over its digests; raises BadOutputError with the row."""
        ...

    async def arrive(
        self,
        exchange: str,
        *,
        assets: Sequence[SegmentRef],
        rids: Mapping[str, int],
        first_aid: int,
        first_rec: int,
        source: str,
        import_id: str,
    ) -> Arrived:
        """Turns a checked exchange form into segments."""
        ...

    async def arrive_predictions(
        self, exchange: str, *, version: VersionManifest, rids: Mapping[str, int], first_rec: int
    ) -> Derived:
        """Turns predictions on the pictures of a version into records."""
        ...


class BytesStore(Protocol):
    """As much of a blob store as manifests and reports need."""

    async def put_bytes(self, data: bytes) -> "StoredBytes":
        """Stores bytes."""
        ...

    async def put_many(
        self, contents: Sequence[bytes], *, digests: Sequence[str] | None = None
    ) -> "Sequence[StoredBytes]":
        """Stores several at once, with one sync."""
        ...

    async def read(self, digest: str, *, offset: int = 0, limit: int = 0) -> bytes:
        """Returns the bytes of a blob."""
        ...


class StoredBytes(Protocol):
    """What a blob store answers."""

    @property
    def digest(self) -> str:
        """Returns the sha256 in hex."""
        ...


async def load_manifest(blobs: BytesStore, digest: str) -> VersionManifest:
    """Returns the manifest with that digest."""
    return VersionManifest.from_bytes(await blobs.read(digest))


async def store_manifest(blobs: BytesStore, manifest: VersionManifest) -> str:
    """Stores a manifest and returns its digest."""
    return (await blobs.put_bytes(manifest.to_bytes())).digest


async def store_manifests(blobs: BytesStore, manifests: Sequence[VersionManifest]) -> list[str]:
    """Stores manifests together and returns their digests."""
    return [stored.digest for stored in await blobs.put_many([manifest.to_bytes() for manifest in manifests])]


async def store_json(blobs: BytesStore, value: object) -> str:
    """Stores a JSON value canonically and returns its digest."""
    return (await blobs.put_bytes(canonical_json(value))).digest
