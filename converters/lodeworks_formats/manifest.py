"""Canonical JSON, digests, and the manifest of a dataset version.

canonical_json(value) -> bytes          sorted keys, no blanks, UTF-8, NaN refused: equal values, equal bytes
sha256_hex(data) -> str                 sha256_file(path) -> str
VersionManifest(...).to_bytes()         VersionManifest.from_bytes(data)       manifest.digest
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lodeworks_formats.errors import FormatError

_VERSION = 1


def canonical_json(value: Any) -> bytes:
    """Returns the one JSON text of a value. Equal values give equal bytes; NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes) -> str:
    """Returns the digest by which a blob is known."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the digest of a file without loading it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """One segment that a version is made of.

    Attributes:
        kind: assets, signals, provenance, members, records, boxes or counts.
        digest: sha256 of the Parquet file.
        size_bytes: Its size.
        rows: Its rows.
        first_id: Lowest id in its first column, 0 when empty.
        last_id: Highest id in its first column, 0 when empty.
    """

    kind: str
    digest: str
    size_bytes: int
    rows: int
    first_id: int = 0
    last_id: int = 0


@dataclass(frozen=True, slots=True)
class VersionManifest:
    """What a dataset version is; the sha256 of its canonical JSON is the version's digest.

    Attributes:
        object_type: detection, semantic or instance.
        segments: The members segment and every segment that its ids point into.
        operation: What made it (import, filter, merge, …).
        parameters: The operation's recorded parameters; JSON values only.
        parents: Digests of the manifests it was made from.
        seed: The seed of a random operation, else None.
        class_map_revision: The project's class map when it was made.
        statistics: Totals that never change (assets, boxes, annotated, bytes).
    """

    object_type: str
    segments: tuple[SegmentRef, ...]
    operation: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    seed: int | None = None
    class_map_revision: int = 0
    statistics: Mapping[str, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON."""
        return canonical_json({"manifest_version": _VERSION, **asdict(self)})

    @property
    def digest(self) -> str:
        """The version's digest."""
        return sha256_hex(self.to_bytes())

    @staticmethod
    def from_bytes(data: bytes) -> "VersionManifest":
        """Reads a manifest; raises FormatError BAD_MANIFEST."""
        try:
            raw = json.loads(data)
            if raw.pop("manifest_version") != _VERSION:
                raise FormatError("BAD_MANIFEST", "the manifest is of a newer version; upgrade this program")
            raw["segments"] = tuple(SegmentRef(**segment) for segment in raw["segments"])
            raw["parents"] = tuple(raw["parents"])
            return VersionManifest(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError("BAD_MANIFEST", f"this is no manifest of a dataset version ({error})") from error
