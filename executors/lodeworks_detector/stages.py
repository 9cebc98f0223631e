"""The stages of a training: one for each improvement and the last one, each with .pt and .onnx."""

from __future__ import annotations

import copy
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lodeworks_detector.network import Detector, fuse_norms
from lodeworks_detector.validation import Scores
from lodeworks_detector.weights import save_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lodeworks_executor import Task
    from torch import Tensor

    from lodeworks_detector.export import OnnxWriter

WEIGHTS_FILE = "model.pt"
ONNX_FILE = "model.onnx"


@dataclass(slots=True)
class Best:
    """The best stage so far: its name, epoch and mAP over IoU 0.50:0.95."""

    name: str
    epoch: int
    ap: float


class Stages:
    """Writes stages and keeps the newest few of them."""

    def __init__(
        self, task: Task, *, writer: OnnxWriter, class_names: Sequence[str], input_size: tuple[int, int], keep: int
    ) -> None:
        self._task = task
        self._writer = writer
        self._class_names = tuple(class_names)
        self._input_size = input_size
        self._keep = keep
        self.best: Best | None = None
        self._best_scores: Scores | None = None
        self._best_state: dict[str, Tensor] | None = None

    def add(self, epoch: int, model: Detector, fused: Detector, scores: Scores) -> None:
        """Writes a stage; it becomes the best one if its mAP over IoU 0.50:0.95 is the highest so far."""
        self._put(epoch, model, fused, scores)
        self._drop_old()

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs to bring the best stage into a fresh output folder."""
        assert self.best is not None
        assert self._best_scores is not None
        assert self._best_state is not None
        return {"epoch": self.best.epoch, "scores": asdict(self._best_scores), "weights": self._best_state}

    def restore(self, state: Mapping[str, Any], *, model: Detector) -> None:
        """Writes the best stage of an earlier attempt again."""
        model = copy.deepcopy(model)
        model.load_state_dict(state["weights"])
        self._put(int(state["epoch"]), model, fuse_norms(model), Scores(**state["scores"]))

    def _put(self, epoch: int, model: Detector, fused: Detector, scores: Scores) -> None:
        name = f"epoch_{epoch}"
        folder = self._task.stage_folder(name)
        save_model(folder / WEIGHTS_FILE, model, class_names=self._class_names, input_size=self._input_size)
        self._writer.write(folder / ONNX_FILE, fused, score_threshold=scores.threshold)
        best = self.best is None or scores.ap > self.best.ap
        if best:
            self.best = Best(name, epoch, scores.ap)
            self._best_scores = scores
            self._best_state = {key: value.clone() for key, value in model.state_dict().items()}
        assert self.best is not None
        # The choice stands in the same write as the stage: at no moment does the file name a worse one.
        self._task.stage(
            name,
            [WEIGHTS_FILE, ONNX_FILE],
            map_score=scores.ap50,
            best=self.best.name,
            mAR=scores.ar,
            mAP50_95=scores.ap,
            **{f"AP50/{class_name}": value for class_name, value in scores.per_class.items()},
        )

    def _drop_old(self) -> None:
        assert self.best is not None
        spare = [name for name in self._task.stage_names if name != self.best.name]
        for name in spare[: max(0, len(spare) - self._keep + 1)]:
            self._task.drop_stage(name)
            shutil.rmtree(self._task.stage_folder(name))
