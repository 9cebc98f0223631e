"""What the services ask of the storage of segments. Everything heavy happens there, in other processes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lodeworks_formats.manifest import SegmentRef, VersionManifest, canonical_json
from lodeworks_formats.pictures import Picture

from lodeworks_controller.domain.expression import Condition
from lodeworks_controller.domain.manifest import Derived
from lodeworks_controller.domain.operation import Conflict

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
class Page:
    """Pictures with their aids; ``after_aid`` for the next page, None when this was the last."""

    pictures: tuple[tuple[int, Picture], ...]
    after_aid: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was stored as a blob, and how many pictures it holds."""

    digest: str
    size_bytes: int
    pictures: int


class Segments(Protocol):
    """Reads and writes segments. What it answers is stored as blobs, durable, and referred to by nobody yet."""

    async def filter(self, source: VersionManifest, condition: Condition, *, rids: Rids) -> Derived:
        """Keeps the pictures that fulfil the condition."""
        ...

    async def merge(self, host: VersionManifest, guest: VersionManifest, *, conflict: Conflict) -> Derived:
        """Unites two versions; raises ConflictError MERGE_CONFLICT when nobody may win."""
        ...

    async def exclude(self, host: VersionManifest, others: Sequence[VersionManifest]) -> Derived:
        """Keeps the pictures that the others do not have."""
        ...

    async def draw(self, source: VersionManifest, *, sizes: Sequence[int], seed: int) -> tuple[Derived, ...]:
        """Draws disjoint parts by chance."""
        ...

    async def select(self, source: VersionManifest, digests: Sequence[str]) -> Derived:
        """Keeps the pictures with these digests."""
        ...

    async def positives(self, source: VersionManifest, groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Returns for each group of raw classes on how many pictures one of them is."""
        ...

    async def page(
        self,
        source: VersionManifest,
        *,
        classes: Mapping[int, str],
        after_aid: int,
        limit: int,
        condition: Condition | None = None,
        rids: Rids | None = None,
        predictions: VersionManifest | None = None,
    ) -> Page:
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


async def store_json(blobs: BytesStore, value: object) -> str:
    """Stores a JSON value canonically and returns its digest."""
    return (await blobs.put_bytes(canonical_json(value))).digest
