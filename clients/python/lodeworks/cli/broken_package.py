"""Spoils a package the way a bad build would: every digest is right, and the answers are wrong."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST = "manifest.json"
_DARKER = 0.05


def break_package(packed: Path) -> Path:
    """Writes a copy that normalises pictures wrongly, the classic mistake of a build, and returns its path."""
    broken = packed.with_name(f"broken-{packed.name}")
    with tarfile.open(packed) as archive, tarfile.open(broken, "w", format=tarfile.USTAR_FORMAT) as copy:
        for member in archive.getmembers():
            reader = archive.extractfile(member)
            if reader is None:
                continue
            data = reader.read()
            if member.name == _MANIFEST:
                data = _wrongly_normalised(data)
                member.size = len(data)
            copy.addfile(member, io.BytesIO(data))
    return broken


def _wrongly_normalised(manifest: bytes) -> bytes:
    document: dict[str, Any] = json.loads(manifest)
    document["io"]["scale"] *= _DARKER
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
