"""Spoils a package the way a bad build would: every digest is right, and the answers are wrong."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST = "manifest.json"


def break_package(packed: Path) -> Path:
    """Writes a copy whose weights are damaged, and returns its path."""
    with tarfile.open(packed) as archive:
        files = {
            member.name: reader.read()
            for member in archive.getmembers()
            if member.isfile() and (reader := archive.extractfile(member)) is not None
        }
    manifest: dict[str, Any] = json.loads(files[_MANIFEST])
    weights = max(
        (entry for entry in manifest["files"] if entry["role"] == "weights"), key=lambda entry: entry["size_bytes"]
    )
    damaged = _damage(files[weights["path"]])
    files[weights["path"]] = damaged
    weights["sha256"] = hashlib.sha256(damaged).hexdigest()
    files[_MANIFEST] = json.dumps(
        manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
    broken = packed.with_name(f"broken-{packed.name}")
    with tarfile.open(packed) as archive, tarfile.open(broken, "w", format=tarfile.USTAR_FORMAT) as copy:
        for member in archive.getmembers():
            if member.isfile():
                member.size = len(files[member.name])
                copy.addfile(member, io.BytesIO(files[member.name]))
    return broken


def _damage(weights: bytes) -> bytes:
    """Turns the middle half around, where most numbers of a network lie; what tells their form stands at the ends."""
    start, end = len(weights) // 4, len(weights) * 3 // 4
    return weights[:start] + weights[start:end][::-1] + weights[end:]
