"""What a training tells while it goes on: log, progress, metrics, TensorBoard, alarms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tensorboardX import SummaryWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lodeworks_executor import Task

    from lodeworks_detector.loss import EpochLosses
    from lodeworks_detector.validation import Scores

_INTERVAL_S = 1.0
# The rest of the progress is left for the export of the last stage.
_LOOP_SHARE = 0.98


class Reporter:
    """Tells the platform and the log how a training goes. The clock counts seconds."""

    def __init__(self, task: Task, *, epochs: int, clock: Callable[[], float]) -> None:
        self._task = task
        self._epochs = epochs
        self._clock = clock
        self._told_at = clock()
        self._message = ""
        task.environment.outputs.tensorboard.mkdir(parents=True, exist_ok=True)
        self._board = SummaryWriter(logdir=str(task.environment.outputs.tensorboard), write_to_disk=True)

    def say(self, text: str) -> None:
        """Writes a line to the log of the run."""
        print(text, flush=True)  # noqa: T201 - the log of a run is its standard output

    def step(self, done: int, steps: int) -> None:
        """Tells the progress, once a second at most."""
        now = self._clock()
        if now - self._told_at >= _INTERVAL_S:
            self._told_at = now
            self._task.progress(_LOOP_SHARE * done / steps, self._message)

    def epoch(self, epoch: int, losses: EpochLosses, scores: Scores) -> None:
        """Tells the losses and the validation of an epoch."""
        values = {
            "train/loss": losses.total,
            "train/class_loss": losses.classes,
            "train/box_loss": losses.boxes,
            "val/mAP50": scores.ap50,
            "val/mAP50_95": scores.ap,
            "val/AR100": scores.ar,
            **{f"val/AP50/{name}": value for name, value in scores.per_class.items()},
        }
        for name, value in values.items():
            self._task.metric(epoch, name, value)
            self._board.add_scalar(name, value, epoch)
        classes = ", ".join(f"{name} {value:.3f}" for name, value in scores.per_class.items())
        self._message = (
            f"epoch {epoch}/{self._epochs}: loss {losses.total:.4f}, "
            f"mAP50 {scores.ap50:.3f}, mAP50:95 {scores.ap:.3f} ({classes})"
        )
        self.say(self._message)
        self._task.progress(_LOOP_SHARE * epoch / self._epochs, self._message)

    def resumed(self, epoch: int) -> None:
        """Tells that an earlier attempt is taken up."""
        self.say(f"resumed after epoch {epoch}")

    def stopped_early(self, epoch: int) -> None:
        """Tells that there was no improvement for long."""
        self.say(f"stopped early after epoch {epoch}: no improvement for a while")

    def alarm(self, classes: list[str], *, scratch: Path) -> None:
        """Tells loudly that classes are not found at all, and leaves it with the model."""
        if not classes:
            return
        names = ", ".join(classes)
        text = f"ALARM: the model finds nothing of {names}; more pictures of it, or more epochs, may help"
        self.say(text)
        self._task.metric(self._epochs, "alarm/classes_at_zero", len(classes))
        report = scratch / "classes_at_zero.json"
        report.write_text(json.dumps({"classes_at_zero": classes, "message": text}, ensure_ascii=False))
        self._task.attachment("alarms", report)

    def close(self) -> None:
        """Completes the TensorBoard file."""
        self._board.close()
