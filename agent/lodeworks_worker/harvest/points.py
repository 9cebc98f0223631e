"""Metric points as runs tell them, as far as they can be told on."""

import math

from lodeworks_worker.control_plane import MetricPoint

_STEPS = 1 << 63
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, which is what the wire has room for."""


def metric_point(*, step: int, name: str, value: float, measured_at: float) -> MetricPoint | None:
    """Returns a point; None for a value that is no number, and for a step or a time that no message can hold."""
    if not (-_STEPS <= step < _STEPS and math.isfinite(value) and _FIRST_S <= measured_at <= _LAST_S):
        return None
    return MetricPoint(step, name.encode("utf-8", errors="replace").decode(), value, measured_at)
