"""Figures beside their goals: a table while the benchmark runs, one JSON line at its end."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lodeworks_controller.storage.segments.job_types import Limits


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; at most one of the goals is set. A note says what the reader should know."""

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Says whether the goal was met; empty without one."""
        if self.most is None and self.least is None:
            return ""
        met = self.value <= self.most if self.most is not None else self.value >= (self.least or 0.0)
        return "met" if met else "MISSED"

    def line(self) -> str:
        """Returns the line of the table."""
        goal = f"<= {self.most:,.0f}" if self.most is not None else ""
        goal = f">= {self.least:,.0f}" if self.least is not None else goal
        return f"{self.name:<58} {self.value:>10,.1f} {self.unit:<7} {goal:<10} {self.verdict:<7} {self.note}".rstrip()


class Bench:
    """Times work and prints a line for each figure.

    Args:
        folder: Where everything lies.
        whole: Whether the sizes are those that the goals are for; else goals are left out.
    """

    def __init__(self, folder: Path, *, whole: bool = True) -> None:
        self.folder = folder
        self.limits = Limits(str(folder))
        self.figures: list[Figure] = []
        self._whole = whole
        self._jobs = 0

    def place(self) -> str:
        """Returns a new folder."""
        self._jobs += 1
        path = self.folder / f"job{self._jobs}"
        path.mkdir()
        return str(path)

    def time(self, name: str, work: Callable[[], Any], *, goal_ms: float | None = None, repeats: int = 5) -> Any:
        """Runs work some times and notes the best, with the processor time of all its threads beside it."""
        best, spent, answer = float("inf"), float("inf"), None
        for _ in range(repeats):
            start, before = time.perf_counter(), time.process_time()
            answer = work()
            best = min(best, time.perf_counter() - start)
            spent = min(spent, time.process_time() - before)
        self.note(name, best * 1000, "ms", most=goal_ms, note=f"processor {spent * 1000:,.1f} ms")
        return answer

    def note(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        most: float | None = None,
        least: float | None = None,
        note: str = "",
        always: bool = False,
    ) -> None:
        """Prints a line and keeps it; `always`: the goal holds for a small run as well."""
        if not self._whole and not always:
            most = least = None
        figure = Figure(name, value, unit, most, least, note)
        self.figures.append(figure)
        print(figure.line(), flush=True)

    def skip(self, name: str, why: str) -> None:
        """Says why there is no figure."""
        print(f"{name:<58} {why}", flush=True)

    def document(self, area: str) -> dict[str, Any]:
        """Returns all figures as the last line of a benchmark has them."""
        goals: dict[str, dict[str, float]] = {}
        for figure in self.figures:
            for kind, limit in (("max", figure.most), ("min", figure.least)):
                if limit is not None:
                    goals[f"{figure.name}, {figure.unit}"] = {kind: limit}
        return {
            "area": area,
            "load": round(os.getloadavg()[0], 1),
            "cores": os.cpu_count(),
            "figures": {f"{figure.name}, {figure.unit}": round(figure.value, 2) for figure in self.figures},
            "goals": goals,
        }

    def print_document(self, area: str) -> None:
        """Prints the last line."""
        print(json.dumps(self.document(area)), flush=True)
