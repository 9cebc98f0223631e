"""Reads the metrics of a run as they come: /out/lode/metrics.jsonl, or else its TensorBoard event files.

Offsets are journaled now and then, and after a kill of the worker what was sent since is read and sent again; the
controller trims it by number. Of several event files at once, a few points of that second may then be missing or twice.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lodeworks_worker.control_plane import ControlPlane, MetricPoint, Scope
from lodeworks_worker.harvest.events import event_files, read_events
from lodeworks_worker.harvest.plain_file import open_plain
from lodeworks_worker.harvest.points import metric_point
from lodeworks_worker.journal import Offsets
from lodeworks_worker.putting_down import in_thread

_PART_BYTES = 1 << 18
_TORN = -1
"""In place of an offset: nothing more of that file can be read."""


@dataclass(frozen=True, slots=True)
class MetricsPart:
    """Points, and the place in the file behind them."""

    points: tuple[MetricPoint, ...]
    next_offset: int


def read_metrics(folder: Path, *, offset: int) -> MetricsPart:
    """Returns the points in the whole lines from a byte offset; lines that hold no number are passed over."""
    try:
        with open_plain(folder / "out", "lode/metrics.jsonl") as file:
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
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return metric_point(step=step, name=name, value=value, measured_at=at)


async def pump_metrics(control: ControlPlane, scope: Scope, *, folder: Path, offsets: Offsets) -> Offsets:
    """Sends the points that came since; returns the offsets behind them."""
    if not (folder / "out" / "lode" / "metrics.jsonl").exists():
        return await _pump_events(control, scope, folder=folder, offsets=offsets)
    part = read_metrics(folder, offset=offsets.metrics_bytes)
    if part.next_offset == offsets.metrics_bytes:
        return offsets
    if part.points:
        await _send(control, scope, points=part.points, before=offsets.metrics)
    return replace(offsets, metrics=offsets.metrics + len(part.points), metrics_bytes=part.next_offset)


async def _pump_events(control: ControlPlane, scope: Scope, *, folder: Path, offsets: Offsets) -> Offsets:
    """Sends the scalars of event files; tags of a file in a folder of its own begin with the folder's path."""
    root = folder / "out" / "tensorboard"
    for path in await in_thread(event_files, root):
        name = path.relative_to(root).as_posix()
        known = offsets.events.get(name, 0)
        if known == _TORN or _size_bytes(path) <= known:
            continue
        prefix = name.rpartition("/")[0]
        part = await in_thread(read_events, path, offset=known, prefix=f"{prefix}/" if prefix else "")
        if part.points:
            await _send(control, scope, points=part.points, before=offsets.metrics)
        events = {**offsets.events, name: _TORN if part.torn else part.next_offset}
        offsets = replace(offsets, metrics=offsets.metrics + len(part.points), events=events)
    return offsets


def _size_bytes(path: Path) -> int:
    """Returns the length of a file; none for one that the run has just removed."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def _send(control: ControlPlane, scope: Scope, *, points: Sequence[MetricPoint], before: int) -> None:
    await control.append_metrics(scope, offset=before, points=points)
