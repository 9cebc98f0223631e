"""Reads the metrics that an executor writes to /out/lode/metrics.jsonl, as they come."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lodeworks_worker.control_plane import ControlPlane, MetricPoint, Scope
from lodeworks_worker.journal import Offsets

_PART_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class MetricsPart:
    """Points, and the place in the file behind them."""

    points: tuple[MetricPoint, ...]
    next_offset: int


def read_metrics(folder: Path, *, offset: int) -> MetricsPart:
    """Returns the points in the whole lines from a byte offset; lines that hold no number are passed over."""
    path = folder / "out" / "lode" / "metrics.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read(_PART_BYTES)
    except OSError:
        return MetricsPart((), offset)
    whole = raw[: raw.rfind(b"\n") + 1]
    points = [_point(line) for line in whole.splitlines()]
    return MetricsPart(tuple(point for point in points if point is not None), offset + len(whole))


def _point(line: bytes) -> MetricPoint | None:
    try:
        told = json.loads(line)
        step, name, value, at = int(told["step"]), str(told["name"]), float(told["value"]), float(told.get("time", 0))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not (math.isfinite(value) and math.isfinite(at)):
        return None
    return MetricPoint(step=step, name=name, value=value, measured_at=at)


async def pump_metrics(control: ControlPlane, scope: Scope, *, folder: Path, offsets: Offsets) -> Offsets:
    """Sends the points that came since; returns the offsets behind them."""
    part = read_metrics(folder, offset=offsets.metrics_bytes)
    if part.next_offset == offsets.metrics_bytes:
        return offsets
    if part.points:
        await _send(control, scope, points=part.points, before=offsets.metrics)
    return replace(offsets, metrics=offsets.metrics + len(part.points), metrics_bytes=part.next_offset)


async def _send(control: ControlPlane, scope: Scope, *, points: Sequence[MetricPoint], before: int) -> None:
    await control.append_metrics(scope, offset=before, points=points)
