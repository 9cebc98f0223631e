"""`lode task watch`: progress, time left and the newest curve; a picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from lodeworks.cli.chart import chart, sparkline

if TYPE_CHECKING:
    from collections.abc import Callable

    from lodeworks.api.task.v1.task_pb2 import Task
    from lodeworks.blocking.task import TaskEvent

_CURVES = ("val/mAP50", "val/map50", "val/AP50", "mAP50", "mAP", "train/loss", "loss")
"""Which series is drawn large where there are several; after these the first."""
_SAID = 3
_LISTED = 8
_WORTH = 0.02
_WINDOW = 64


@dataclass(slots=True)
class TimeLeft:
    """Estimates how long a task still takes, from how its progress moved of late.

    Attributes:
        seen: Moments in seconds and the share done then.
    """

    seen: list[tuple[float, float]] = field(default_factory=list)

    def tell(self, now_s: float, share: float, *, started_s: float | None) -> float | None:
        """Returns the seconds left; None while nothing can be said.

        Args:
            now_s: The present moment.
            share: Share done, 0 to 1; negative when unknown.
            started_s: When the attempt started, by the same clock; None when unknown.
        """
        if not 0 < share < 1:
            self.seen.clear()
            return None
        if self.seen and share < self.seen[-1][1]:
            self.seen.clear()  # another attempt
        if not self.seen or share > self.seen[-1][1]:
            self.seen = [*self.seen[-_WINDOW:], (now_s, share)]
        first_s, first = self.seen[0]
        last_s, last = self.seen[-1]
        if last - first >= _WORTH:
            left_s = (last_s - first_s) / (last - first) * (1 - last)
            return max(0.0, left_s - (now_s - last_s))
        if started_s is not None and share >= _WORTH:
            return max(0.0, (now_s - started_s) * (1 - share) / share)
        return None


def clock(seconds: float) -> str:
    """Writes a time: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Watch:
    """Follows a task's events.

    Args:
        now_s: Returns the present moment, seconds since 1970.
        live: True draws over what was drawn before; false writes a line when something is new.
    """

    def __init__(self, *, now_s: Callable[[], float], live: bool) -> None:
        self._now_s = now_s
        self._live = live
        self._left = TimeLeft()
        self._series: dict[str, list[float]] = {}
        self._attempt = 0
        self._drawn = 0
        self._said = ""

    def show(self, event: TaskEvent) -> None:
        """Draws what is known after an event."""
        task = event.task
        if task.attempt != self._attempt:
            self._attempt = task.attempt
            self._series.clear()
        for point in event.metrics:
            self._series.setdefault(point.name, []).append(point.value)
        if self._live:
            self._draw([self.line(task), *self._picture()])
            return
        said = self.line(task) + self._newest()
        if said != self._said:
            self._said = said
            click.echo(said, err=True)

    def line(self, task: Task) -> str:
        """Returns the line of progress."""
        now_s = self._now_s()
        state = _state(task)
        started_s = task.start_time.ToNanoseconds() / 1e9 if task.HasField("start_time") else None
        left_s = self._left.tell(now_s, task.progress, started_s=started_s)
        parts = [f"{task.title}  {state}"]
        if task.progress >= 0 and state in {"running", "cancelling", "suspect"}:
            filled = int(task.progress * 20)
            bar = f"[{'█' * filled}{'·' * (20 - filled)}] " if self._live else ""
            parts.append(f"{bar}{task.progress:.0%}")
        if self._live and started_s is not None and state == "running":
            parts.append(clock(now_s - started_s))
        if left_s is not None and state == "running":
            parts.append(f"ETA {clock(left_s)}")
        if task.attempt > 1:
            parts.append(f"attempt {task.attempt}")
        if task.message:
            parts.append(task.message)
        return "  ".join(parts)

    def end(self) -> None:
        """Leaves what is drawn."""
        self._drawn = 0

    def _newest(self) -> str:
        return "".join(f"  {name}={self._series[name][-1]:.4g}" for name in self._chosen(_SAID))

    def _chosen(self, most: int) -> list[str]:
        """Returns the names of the series that say the most, those known to matter first."""
        known = [name for name in _CURVES if name in self._series]
        return [*known, *sorted(set(self._series) - set(known))][:most]

    def _picture(self) -> list[str]:
        if not self._series:
            return []
        width = min(64, shutil.get_terminal_size().columns - 14)
        chosen = self._chosen(_LISTED)
        lines = [f"  {chosen[0]}", *chart(self._series[chosen[0]], width=width)]
        for name in chosen:
            values = self._series[name]
            lines.append(f"  {name:<24} {values[-1]:>10.4g}  {sparkline(values)}")
        return lines

    def _draw(self, lines: list[str]) -> None:
        size = shutil.get_terminal_size()
        lines = [line[: size.columns - 1] for line in lines[: size.lines - 1]]
        up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
        click.echo(f"\r{up}\x1b[J" + "\n".join(lines), nl=False, err=True, color=True)
        self._drawn = len(lines)


def _state(task: Task) -> str:
    from lodeworks.api.task.v1.task_pb2 import TaskState

    return TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
