"""A bound for output that the controller has not taken yet: beyond it the middle is dropped, and a record says so.

A run keeps writing its output to a file while the controller is away. Offsets in that file stay what they are: what is
dropped is a hole (its blocks go back to the disk), noted beside the file before it is made, so that the same offset
gives the same bytes again, also after a restart. The part that may have been sent already is never dropped.
"""

import ctypes
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lodeworks_worker.drivers.base import LogPart

DEFAULT_BYTES = 1 << 30
PART_BYTES = 1 << 20
_PUNCH, _KEEP_SIZE = 0x02, 0x01
_LINE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Gap:
    """A range of the output file that was dropped."""

    start: int
    end: int

    @property
    def record(self) -> bytes:
        """What stands in its place."""
        return f"\n[lode: {self.end - self.start} bytes of output were dropped here: the spool was full]\n".encode()


def read_spool(path: Path, offset: int, *, limit_bytes: int) -> LogPart:
    """Returns a part of an output file from an offset, and drops of its middle what is beyond the bound. Blocks."""
    gaps = _gaps(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return LogPart(b"", offset)
    if size - offset > limit_bytes and not any(gap.start >= offset for gap in gaps):
        gap = _chosen(path, offset + PART_BYTES, size - limit_bytes // 2)
        if gap.end > gap.start:
            gaps = [*gaps, gap]
            _drop(path, gaps)
    for gap in gaps:
        if offset == gap.start:
            return LogPart(gap.record, gap.end)
    end = min([gap.start for gap in gaps if gap.start > offset], default=offset + PART_BYTES)
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(min(PART_BYTES, end - offset))
    return LogPart(data, offset + len(data))


def _chosen(path: Path, start: int, end: int) -> Gap:
    """Lets the gap end where a line does, if one does soon."""
    with path.open("rb") as file:
        file.seek(end)
        newline = file.read(_LINE_BYTES).find(b"\n")
    return Gap(start, end + newline + 1)


def _gaps(path: Path) -> list[Gap]:
    try:
        return [Gap(*pair) for pair in json.loads(_note(path).read_text())]
    except FileNotFoundError:
        return []


def _drop(path: Path, gaps: Sequence[Gap]) -> None:
    temporary = _note(path).with_suffix(".new")
    temporary.write_text(json.dumps([[gap.start, gap.end] for gap in gaps]))
    temporary.replace(_note(path))
    punch = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if punch is None:
        return  # the bytes stay on the disk; they are passed over all the same
    handle = os.open(path, os.O_RDWR)
    try:
        gap = gaps[-1]
        punch(handle, _PUNCH | _KEEP_SIZE, ctypes.c_int64(gap.start), ctypes.c_int64(gap.end - gap.start))
    finally:
        os.close(handle)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.gaps")
