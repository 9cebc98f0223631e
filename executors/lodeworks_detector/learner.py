"""What learns: the network, its optimiser and its running mean, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lodeworks_executor import ErrorCode, ExecutorError
from torch import nn

from lodeworks_detector.loss import EpochLosses, detection_loss
from lodeworks_detector.optimisation import RunningMean, learning_rate_at, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lodeworks_detector.batches import Batch, TrainingBatches
    from lodeworks_detector.network import Detector
    from lodeworks_detector.ranks import Rank

_GRADIENT_NORM = 10.0
_WARM_UP_EPOCHS = 2
_FLOOR = 0.6


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training goes: its length, its speed, and on what it runs."""

    epochs: int
    patience: int
    learning_rate: float
    checkpoint_interval_s: float
    rank: Rank
    precision: torch.dtype

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.rank.device


class Learner:
    """Learns one epoch after the other, alone or with other processes that each get their part of every batch."""

    def __init__(self, model: Detector, *, plan: Plan, batches: TrainingBatches) -> None:
        rank = plan.rank
        if rank.count > 1 and plan.device.type == "cuda":
            # The norms see the whole batch; on a CPU torch has no such norm, and each process sees its part.
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        self._model = model.to(plan.device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own stubs
        self._plan = plan
        self._batches = batches
        self._optimizer = make_optimizer(self._model, learning_rate=plan.learning_rate)
        self._mean = RunningMean(self._model)
        self._scaler = torch.amp.GradScaler(plan.device.type, enabled=plan.precision == torch.float16)
        self._spread = rank.spread(self._model)
        self.next_epoch = 0

    @property
    def mean(self) -> Detector:
        """The running mean of the weights, which is what gets measured and exported."""
        return self._mean.model

    def state(self) -> dict[str, Any]:
        """Returns what `load` needs to go on as if nothing had happened."""
        return {
            "model": self._model.state_dict(),
            "mean": self._mean.model.state_dict(),
            "updates": self._mean.updates,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "next_epoch": self.next_epoch,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes up an earlier state; raises RuntimeError, KeyError, TypeError or ValueError where it does not fit."""
        self._model.load_state_dict(state["model"])
        self._mean.model.load_state_dict(state["mean"])
        self._mean.updates = int(state["updates"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.next_epoch = int(state["next_epoch"])

    def learn_epoch(self, *, on_step: Callable[[int, int], None] | None = None) -> EpochLosses:
        """Learns the next epoch and returns its mean losses, those of the whole batches.

        Args:
            on_step: told after each batch how many are done, and how many the whole training has.
        """
        self._model.train()
        steps = self._plan.epochs * len(self._batches)
        warm_up = min(_WARM_UP_EPOCHS * len(self._batches), max(1, steps // 5))
        losses = EpochLosses()
        for number, batch in enumerate(self._batches.epoch(self.next_epoch)):
            step = self.next_epoch * len(self._batches) + number
            rate = learning_rate_at(step, steps=steps, warm_up=warm_up, peak=self._plan.learning_rate)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            floor = max(0.0, _FLOOR * (1 - 2 * step / steps))
            losses.add(*self._step(batch.to(self._plan.device), floor=floor))
            if on_step is not None:
                on_step(step + 1, steps)
        self.next_epoch += 1
        return losses

    def _step(self, batch: Batch, *, floor: float) -> tuple[float, float, float]:
        plan = self._plan
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(plan.device.type, plan.precision, enabled=plan.precision != torch.float32):
            prediction = self._spread(images)
        losses = detection_loss(prediction, batch, floor=floor, add_up=plan.rank.add_up)
        total, classes, boxes = plan.rank.add_up(torch.stack((losses.total, losses.classes, losses.boxes))).tolist()
        if not math.isfinite(total):
            raise ExecutorError(f"the loss became {total}; a lower learning_rate may help", code=ErrorCode.NOT_A_NUMBER)
        self._optimizer.zero_grad(set_to_none=True)
        # The processes' gradients are averaged, their losses are parts of a sum.
        self._scaler.scale(losses.total * plan.rank.count).backward()  # type: ignore[no-untyped-call]  # untyped there
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._mean.update(self._model)
        return total, classes, boxes
