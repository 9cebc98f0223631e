"""What versions consist of: segments that are never edited, and the figures that lists show."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lodeworks_formats.manifest import SegmentRef, VersionManifest

MEMBERS, RECORDS = "members", "records"
ASSETS, PROVENANCE, SIGNALS = "assets", "provenance", "signals"
THUMBNAILS = "thumbnails"
BOXES, COUNTS = "boxes", "counts"


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many boxes carry a raw class, and on how many pictures."""

    boxes: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of a version or prediction set; ``raw`` by rid, since what a name means may change."""

    pictures: int = 0
    annotated: int = 0
    boxes: int = 0
    picture_bytes: int = 0
    raw: Mapping[int, ClassCount] = field(default_factory=dict)

    def totals(self) -> dict[str, int]:
        """Returns the figures without classes, as manifests carry them."""
        return {
            "pictures": self.pictures,
            "annotated": self.annotated,
            "boxes": self.boxes,
            "picture_bytes": self.picture_bytes,
        }

    def to_json(self) -> dict[str, Any]:
        """Returns plain data; rids become text, as JSON wants keys."""
        raw = {str(rid): [count.boxes, count.pictures] for rid, count in sorted(self.raw.items())}
        return {**self.totals(), "raw": raw}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Statistics":
        """Returns the figures that to_json wrote."""
        raw = {int(rid): ClassCount(*counts) for rid, counts in data["raw"].items()}
        return Statistics(data["pictures"], data["annotated"], data["boxes"], data["picture_bytes"], raw)


@dataclass(frozen=True, slots=True)
class Derived:
    """What an operation made: the segments of the new version, stored, and its figures."""

    segments: tuple[SegmentRef, ...]
    statistics: Statistics


def of_kind(manifest: VersionManifest, kind: str) -> tuple[SegmentRef, ...]:
    """Returns the segments of one kind."""
    return tuple(segment for segment in manifest.segments if segment.kind == kind)


def covering(segments: Iterable[SegmentRef], *, low: int, high: int) -> tuple[SegmentRef, ...]:
    """Returns, once each and in order of ids, the segments that may hold ids between low and high."""
    hits = {
        segment.digest: segment
        for segment in segments
        if segment.rows and segment.first_id <= high and segment.last_id >= low
    }
    return tuple(sorted(hits.values(), key=lambda segment: (segment.first_id, segment.digest)))


def near(segments: Iterable[SegmentRef], manifests: Iterable[VersionManifest]) -> tuple[SegmentRef, ...]:
    """Returns the segments that may speak of pictures of the versions, such as their signals."""
    spans = [ref for manifest in manifests for ref in of_kind(manifest, ASSETS)]
    if not spans:
        return ()
    return covering(segments, low=min(ref.first_id for ref in spans), high=max(ref.last_id for ref in spans))


def digests_of(manifest: VersionManifest) -> tuple[str, ...]:
    """Returns the digests of all objects that the manifest names."""
    return tuple(dict.fromkeys(segment.digest for segment in manifest.segments))
