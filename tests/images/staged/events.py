"""Writes TensorBoard event files: records with masked CRC-32C, each an Event message with scalars."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_POLYNOMIAL = 0x82F63B78


def write_events(path: Path, *, points: list[tuple[int, str, float]], begun_at: float) -> None:
    """Writes (step, tag, value) points, a second apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    events = [_double(1, begun_at) + _text(3, "brain.Event:2")]
    for number, (step, tag, value) in enumerate(points):
        summary = _bytes(1, _text(1, tag) + bytes([2 << 3 | 5]) + struct.pack("<f", value))
        events.append(_double(1, begun_at + number) + bytes([2 << 3]) + _varint(step) + _bytes(5, summary))
    path.write_bytes(b"".join(_record(event) for event in events))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))


def _masked(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _bytes(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _double(field: int, value: float) -> bytes:
    return bytes([field << 3 | 1]) + struct.pack("<d", value)
