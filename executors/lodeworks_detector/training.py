"""The training loop: epochs, validation, stages, checkpoints, early stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lodeworks_executor import BadModelError, ErrorCode, ExecutorError

from lodeworks_detector.loss import EpochLosses, detection_loss
from lodeworks_detector.network import Detector, FusedCopy
from lodeworks_detector.optimisation import RunningMean, learning_rate_at, make_optimizer
from lodeworks_detector.weights import load_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from lodeworks_executor import Task

    from lodeworks_detector.batches import Batch, TrainingBatches
    from lodeworks_detector.progress import Reporter
    from lodeworks_detector.stages import Stages
    from lodeworks_detector.validation import Scores, Validation

_GRADIENT_NORM = 10.0
_WARM_UP_EPOCHS = 2
_FLOOR = 0.6
_CHECKPOINT_FILE = "state.pt"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training goes: its length, its speed, and on what it runs."""

    epochs: int
    patience: int
    learning_rate: float
    checkpoint_interval_s: float
    device: torch.device
    precision: torch.dtype


class Training:
    """One training from its first (or next) epoch to its end."""

    def __init__(
        self,
        model: Detector,
        *,
        plan: Plan,
        batches: TrainingBatches,
        validation: Validation,
        stages: Stages,
        reporter: Reporter,
    ) -> None:
        self._model = model.to(plan.device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own stubs
        self._plan = plan
        self._batches = batches
        self._validation = validation
        self._stages = stages
        self._reporter = reporter
        self._optimizer = make_optimizer(self._model, learning_rate=plan.learning_rate)
        self._mean = RunningMean(self._model)
        self._fused = FusedCopy(self._mean.model)
        self._scaler = torch.amp.GradScaler(plan.device.type, enabled=plan.precision == torch.float16)
        self._next_epoch = 0

    def run(self, task: Task, *, clock: Callable[[], float]) -> Scores:
        """Trains to the end and returns the scores of the last epoch. The clock counts seconds."""
        saved_at, scores = clock(), None
        while self._next_epoch < self._plan.epochs:
            epoch = self._next_epoch + 1
            losses = self._train_epoch(self._next_epoch)
            self._next_epoch = epoch
            fused = self._fused.refresh(self._mean.model)
            scores = self._validation.measure(fused, device=self._plan.device, precision=self._plan.precision)
            self._reporter.epoch(epoch, losses, scores)
            last = epoch == self._plan.epochs or self._stops_early(epoch)
            improved = self._stages.best is None or scores.ap > self._stages.best.ap
            if improved or last:
                self._stages.add(epoch, self._mean.model, fused, scores)
            if last:
                if epoch < self._plan.epochs:
                    self._reporter.stopped_early(epoch)
                break
            if clock() - saved_at >= self._plan.checkpoint_interval_s:
                self._save(task)
                saved_at = clock()
        if scores is None:
            fused = self._fused.refresh(self._mean.model)
            scores = self._validation.measure(fused, device=self._plan.device, precision=self._plan.precision)
        return scores

    def resume(self, task: Task) -> bool:
        """Takes up the last complete checkpoint; returns whether there was one.

        Raises:
            BadModelError: it was made with other classes or another network.
        """
        found = task.checkpoint.find()
        if found is None or _CHECKPOINT_FILE not in found.files:
            return False
        try:
            self._load(load_document(found.files[_CHECKPOINT_FILE]))
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            why = " ".join(str(error).split("\n", 2)[:2])
            raise BadModelError(f"the checkpoint does not fit this training; start without it ({why})") from error
        self._reporter.resumed(self._next_epoch)
        return True

    def _load(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._mean.model.load_state_dict(state["mean"])
        self._mean.updates = int(state["updates"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._next_epoch = int(state["next_epoch"])
        self._stages.restore(state["stages"], model=self._mean.model)

    def _save(self, task: Task) -> None:
        state: dict[str, Any] = {
            "model": self._model.state_dict(),
            "mean": self._mean.model.state_dict(),
            "updates": self._mean.updates,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "next_epoch": self._next_epoch,
            "stages": self._stages.state(),
        }
        with task.checkpoint.saving(f"epoch_{self._next_epoch}") as folder:
            torch.save(state, folder / _CHECKPOINT_FILE)

    def _train_epoch(self, epoch: int) -> EpochLosses:
        self._model.train()
        steps = self._plan.epochs * len(self._batches)
        warm_up = min(_WARM_UP_EPOCHS * len(self._batches), max(1, steps // 5))
        losses = EpochLosses()
        for number, batch in enumerate(self._batches.epoch(epoch)):
            step = epoch * len(self._batches) + number
            rate = learning_rate_at(step, steps=steps, warm_up=warm_up, peak=self._plan.learning_rate)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            floor = max(0.0, _FLOOR * (1 - 2 * step / steps))
            losses.add(*self._train_step(batch.to(self._plan.device), floor=floor))
            self._reporter.step(step + 1, steps)
        return losses

    def _train_step(self, batch: Batch, *, floor: float) -> tuple[float, float, float]:
        plan = self._plan
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(plan.device.type, plan.precision, enabled=plan.precision != torch.float32):
            prediction = self._model(images)
        losses = detection_loss(prediction, batch, floor=floor)
        total = losses.total.item()
        if not math.isfinite(total):
            raise ExecutorError(f"the loss became {total}; a lower learning_rate may help", code=ErrorCode.NOT_A_NUMBER)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._mean.update(self._model)
        return total, losses.classes.item(), losses.boxes.item()

    def _stops_early(self, epoch: int) -> bool:
        best = self._stages.best
        return best is not None and epoch - best.epoch >= self._plan.patience
