"""The training loop: epochs, validation, stages, checkpoints, early stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from lodeworks_executor import BadModelError

from lodeworks_detector.network import FusedCopy
from lodeworks_detector.weights import load_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from lodeworks_executor import Task

    from lodeworks_detector.learner import Learner, Plan
    from lodeworks_detector.progress import Reporter
    from lodeworks_detector.stages import Stages
    from lodeworks_detector.validation import Scores, Validation

_CHECKPOINT_FILE = "state.pt"


class Training:
    """One training from its first (or next) epoch to its end; of several processes, the first one's."""

    def __init__(
        self, learner: Learner, *, plan: Plan, validation: Validation, stages: Stages, reporter: Reporter
    ) -> None:
        self._learner = learner
        self._plan = plan
        self._validation = validation
        self._stages = stages
        self._reporter = reporter
        self._fused = FusedCopy(learner.mean)

    def run(self, task: Task, *, clock: Callable[[], float]) -> Scores:
        """Trains to the end and returns the scores of the last epoch. The clock counts seconds."""
        saved_at, scores = clock(), None
        while self._learner.next_epoch < self._plan.epochs:
            losses = self._learner.learn_epoch(on_step=self._reporter.step)
            epoch = self._learner.next_epoch
            scores = self._measure()
            self._reporter.epoch(epoch, losses, scores)
            last = epoch == self._plan.epochs or self._stops_early(epoch)
            improved = self._stages.best is None or scores.ap > self._stages.best.ap
            if improved or last:
                self._stages.add(epoch, self._learner.mean, self._fused.model, scores)
            if self._plan.rank.first_says(last):
                if epoch < self._plan.epochs:
                    self._reporter.stopped_early(epoch)
                break
            if clock() - saved_at >= self._plan.checkpoint_interval_s:
                self._save(task)
                saved_at = clock()
        return scores or self._measure()

    def resume(self, task: Task) -> bool:
        """Takes up the last complete checkpoint; returns whether there was one.

        Raises:
            BadModelError: it was made with other classes or another network.
        """
        if not resume(self._learner, task, stages=self._stages):
            return False
        self._reporter.resumed(self._learner.next_epoch)
        return True

    def _measure(self) -> Scores:
        fused = self._fused.refresh(self._learner.mean)
        return self._validation.measure(fused, device=self._plan.device, precision=self._plan.precision)

    def _save(self, task: Task) -> None:
        state = {**self._learner.state(), "stages": self._stages.state()}
        with task.checkpoint.saving(f"epoch_{self._learner.next_epoch}") as folder:
            torch.save(state, folder / _CHECKPOINT_FILE)

    def _stops_early(self, epoch: int) -> bool:
        best = self._stages.best
        return best is not None and epoch - best.epoch >= self._plan.patience


def follow(learner: Learner, *, plan: Plan) -> None:
    """Learns along with the first process, which alone measures, writes, and says when to end."""
    while learner.next_epoch < plan.epochs:
        learner.learn_epoch()
        if plan.rank.first_says(False):
            return


def resume(learner: Learner, task: Task, *, stages: Stages | None = None) -> bool:
    """Takes up the last complete checkpoint; `stages` get the best one of it.

    Raises:
        BadModelError: it was made with other classes or another network.
    """
    found = task.checkpoint.find()
    if found is None or _CHECKPOINT_FILE not in found.files:
        return False
    try:
        state = load_document(found.files[_CHECKPOINT_FILE])
        learner.load(state)
        if stages is not None:
            stages.restore(state["stages"], model=learner.mean)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        why = " ".join(str(error).split("\n", 2)[:2])
        raise BadModelError(f"the checkpoint does not fit this training; start without it ({why})") from error
    return True
