"""Reads the scalars of TensorBoard event files, as they grow.

TensorBoard itself and what reads its files bring hundreds of megabytes; of the format a worker needs three messages.
A file is records of {length u64, its masked CRC-32C u32, data, CRC u32}; the data is an Event {wall_time = 1, step = 2,
summary = 5}, a summary values {tag = 1, simple_value = 2, tensor = 8}
(tensorflow/core/util/event.proto, framework/summary.proto, framework/tensor.proto). Checksums are not looked at: what
is torn shows in lengths and wire types, and ends the reading of its file.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lodeworks_worker.control_plane import MetricPoint
from lodeworks_worker.harvest.plain_file import open_plain
from lodeworks_worker.harvest.points import metric_point

_PART_BYTES = 1 << 18
_MOST_RECORD_BYTES = 64 << 20
_HEAD, _TAIL = 12, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT, _DOUBLE = 1, 2
_DOUBLE_BYTES = 8
_SIGN = 1 << 63

Value = int | bytes


class _TornError(Exception):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True)
class EventsPart:
    """Points, and the place in the file behind their records; `torn` says that nothing more can be read."""

    points: tuple[MetricPoint, ...]
    next_offset: int
    torn: bool = False


def event_files(folder: Path) -> list[Path]:
    """Lists the event files below a folder in the order of their names; links lead where a stranger likes."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    # Folders that the run removes meanwhile are passed over.
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names if "tfevents" in name)
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def read_events(path: Path, *, offset: int, prefix: str = "") -> EventsPart:
    """Returns the scalars in the whole records from a byte offset.

    Args:
        path: The file.
        offset: Where an earlier part ended; 0 at first.
        prefix: Goes before every tag: where several runs lie in folders of their own, that of the folder.
    """
    points: list[MetricPoint] = []
    place = 0
    try:
        with open_plain(path.parent, path.name) as file:
            file.seek(offset)
            raw = file.read(_PART_BYTES)
            while len(raw) - place >= _HEAD:
                (length,) = struct.unpack_from("<Q", raw, place)
                if length > _MOST_RECORD_BYTES:
                    return EventsPart(tuple(points), offset + place, torn=True)
                whole = _HEAD + length + _TAIL
                if len(raw) - place < whole:
                    if whole <= _PART_BYTES or place:
                        break
                    raw += file.read(whole - len(raw))  # a picture, say: one record larger than a part
                    if len(raw) < whole:
                        break
                points += _points(raw[place + _HEAD : place + _HEAD + length], prefix)
                place += whole
            return EventsPart(tuple(points), offset + place)
    except _TornError:
        return EventsPart(tuple(points), offset + place, torn=True)
    except OSError:
        return EventsPart((), offset)


def _points(event: bytes, prefix: str) -> list[MetricPoint]:
    wall_time, step, summaries = 0.0, 0, []
    for field, value in _fields(event):
        if field == 1 and isinstance(value, bytes) and len(value) == _DOUBLE_BYTES:
            (wall_time,) = struct.unpack("<d", value)
        elif field == 2 and isinstance(value, int):  # noqa: PLR2004 - numbers of the format
            step = (value + _SIGN) % (2 * _SIGN) - _SIGN
        elif field == 5 and isinstance(value, bytes):  # noqa: PLR2004
            summaries.append(value)
    found = []
    for summary in summaries:
        for field, value in _fields(summary):
            scalar = _scalar(value) if field == 1 and isinstance(value, bytes) else None
            if scalar is not None:
                found.append(
                    metric_point(step=step, name=f"{prefix}{scalar[0]}", value=scalar[1], measured_at=wall_time)
                )
    return [point for point in found if point is not None]


def _scalar(told: bytes) -> tuple[str, float] | None:
    """Returns tag and value of a summary's value; None for what is no single number."""
    tag, number = "", None
    for field, value in _fields(told):
        if not isinstance(value, bytes):
            continue
        if field == 1:
            tag = value.decode("utf-8", errors="replace")
        elif field == 2 and len(value) == 4:  # noqa: PLR2004 - simple_value, a float
            (number,) = struct.unpack("<f", value)
        elif field == 8:  # noqa: PLR2004 - tensor
            number = _tensor(value)
    return (tag, float(number)) if tag and number is not None else None


def _tensor(told: bytes) -> float | None:
    """Returns the number in a tensor of one float or double."""
    kind, content = 0, b""
    for field, value in _fields(told):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field in {4, 5, 6} and isinstance(value, bytes):  # tensor_content, float_val, double_val
            content = value
    if kind == _FLOAT and len(content) == 4:  # noqa: PLR2004 - bytes of a float
        return float(struct.unpack("<f", content)[0])
    if kind == _DOUBLE and len(content) == 8:  # noqa: PLR2004 - bytes of a double
        return float(struct.unpack("<d", content)[0])
    return None


def _fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Yields number and value of a message's fields; fixed ones as their bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            number, place = _varint(message, place)
            yield field, number
            continue
        if wire == _BYTES:
            size, place = _varint(message, place)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _TornError
        if place + size > len(message):
            raise _TornError
        yield field, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(message) and shift < 64:  # noqa: PLR2004 - bits of the largest
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place += 1
        if not byte & 0x80:
            return number, place
        shift += 7
    raise _TornError
