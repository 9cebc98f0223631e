"""Progress and metrics, told while a run goes on."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from lodeworks_formats import ymir_results
from lodeworks_formats.ymir_results import FAILED, RUNNING

from lodeworks_executor.writing import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lodeworks_executor.errors import ErrorCode


class Monitor:
    """The monitor file: its first line says how far the run is."""

    def __init__(self, path: Path, *, task_id: str, clock: Callable[[], float]) -> None:
        self._path = path
        self._task_id = task_id
        self._clock = clock
        self._fraction = 0.0
        self._failed = False

    def progress(self, fraction: float, message: str = "") -> None:
        """Records how much of the run is done, 0 to 1; it never goes back, and a failure stays the last word."""
        if self._failed:
            return
        self._fraction = max(self._fraction, min(max(fraction, 0.0), 1.0))
        self._write(RUNNING, code=None, message=message)

    def finish(self) -> None:
        """Records that all is done, unless that is told already."""
        if self._fraction < 1.0:
            self.progress(1.0)

    def fail(self, code: ErrorCode | None, message: str) -> None:
        """Records that the run failed, with its code and a sentence for the user."""
        self._failed = True
        self._write(FAILED, code=code, message=message)

    def _write(self, state: int, *, code: ErrorCode | None, message: str) -> None:
        number = int(code) if code is not None else None
        line = ymir_results.Monitor(self._task_id, self._clock(), self._fraction, state, number, message)
        # Progress may be lost in a power cut; syncing it each second would cost more than it is worth.
        write_atomically(self._path, ymir_results.render_monitor(line).encode(), durable=False)


class MetricLog:
    """The metrics file: one JSON object a line {step, name, value, time}."""

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock

    def write(self, step: int, name: str, value: float) -> None:
        """Appends one value; NaN and infinity become null, since JSON has neither."""
        number = float(value)
        entry = {
            "step": int(step),
            "name": name,
            "value": number if math.isfinite(number) else None,
            "time": round(self._clock(), 6),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
