"""Results: stages of a training, scores of mining, boxes of inference."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks_formats import ymir_results
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segmentation_results import write_segmentation
from lodeworks_formats.ymir_results import StageResult

from lodeworks_executor.errors import ExecutorError
from lodeworks_executor.writing import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lodeworks_formats.boxes import Box

_HEADLINES = ("mAP", "mIoU", "maskAP")
_STAGE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class TrainingResult:
    """The stages of a training so far; the result file is whole after each of them."""

    def __init__(self, path: Path, *, models_folder: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._models_folder = models_folder
        self._clock = clock
        self._stages: dict[str, StageResult] = {}
        self._attachments: dict[str, list[str]] = {}
        self._best: str | None = None
        self._evaluate_config: dict[str, float] = {}

    def folder(self, stage: str) -> Path:
        """Returns the folder of a stage, made if need be."""
        if not _STAGE_NAME.match(stage):
            raise ExecutorError(f"{stage!r} cannot name a stage: letters, digits and _ only, no digit first")
        folder = self._models_folder / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def add_stage(
        self, name: str, files: Sequence[str], *, measures: Mapping[str, float], best: str | None = None
    ) -> None:
        """Adds or replaces a stage, whose files already lie in its folder.

        Args:
            name: letters, digits and underscores.
            files: base names within the folder of the stage.
            measures: mAP (segmentation: mIoU or maskAP) and, if known, mAR, tp, fp, fn, and the executor's own.
            best: the best stage as of now; else it is the one with the highest mAP, mIoU or maskAP.
        """
        folder = self.folder(name)
        for file in files:
            if Path(file).name != file or not (folder / file).is_file():
                raise ExecutorError(f"stage {name}: there is no file {file!r} in {folder}")
        if not files:
            raise ExecutorError(f"stage {name} has no files")
        if not any(headline in measures for headline in _HEADLINES):
            raise ExecutorError(f"stage {name} has no figure to compare it by: give one of {', '.join(_HEADLINES)}")
        scores = {key: float(value) for key, value in measures.items()}
        self._stages[name] = StageResult(name, name, tuple(files), int(self._clock()), scores)
        if best is not None:
            self.choose_best(best)
        else:
            self._write()

    def drop_stage(self, name: str) -> None:
        """Takes a stage off the list; its folder may be removed afterwards."""
        if name == self._best:
            raise ExecutorError(f"stage {name} is the best one and stays")
        del self._stages[name]
        self._write()

    def choose_best(self, name: str) -> None:
        """Names the best stage; without a choice it is the one with the highest mAP, mIoU or maskAP."""
        if name not in self._stages:
            raise ExecutorError(f"there is no stage {name!r} to be the best one")
        self._best = name
        self._write()

    def describe_evaluation(self, *, iou: float, confidence: float) -> None:
        """Records at which thresholds the measures of the stages were taken."""
        self._evaluate_config = {"iou_thr": iou, "conf_thr": confidence}

    def attach(self, section: str, source: Path) -> Path:
        """Copies a file to the attachments of the model and returns the copy."""
        if not _STAGE_NAME.match(section):
            raise ExecutorError(f"{section!r} cannot name a section of attachments")
        target = self._models_folder / "attachments" / section / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        names = self._attachments.setdefault(section, [])
        if source.name not in names:
            names.append(source.name)
        if self._stages:
            self._write()
        return target

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stages so far."""
        return tuple(self._stages)

    def _write(self) -> None:
        best = self._best or max(self._stages, key=lambda name: _headline(self._stages[name].scores))
        result = ymir_results.TrainingResult(
            best_stage_name=best,
            stages=tuple(self._stages.values()),
            attachments={section: tuple(names) for section, names in self._attachments.items()},
            evaluate_config=self._evaluate_config,
        )
        write_atomically(self._path, ymir_results.render_training_result(result).encode())


def _headline(scores: Mapping[str, float]) -> float:
    return next((scores[name] for name in _HEADLINES if name in scores), 0.0)


def write_mining(path: Path, scores: Mapping[Path, float]) -> None:
    """Writes the scores of pictures, best first, ties by path."""
    ranked = sorted(
        ((str(asset), float(score)) for asset, score in scores.items()), key=lambda item: (-item[1], item[0])
    )
    write_atomically(path, ymir_results.render_mining_result(ranked).encode())


def write_inference(path: Path, predictions: Mapping[Path, Iterable[Box]]) -> None:
    """Writes the boxes found in pictures, by the base name of each picture."""
    found = {asset.name: list(boxes) for asset, boxes in predictions.items()}
    write_atomically(path, ymir_results.render_inference_result(found).encode())


def write_masks(
    path: Path, predictions: Iterable[tuple[Path, tuple[int, int], Iterable[Box]]], *, class_names: Sequence[str]
) -> None:
    """Writes the objects found in pictures with their outlines, as a COCO document.

    Args:
        path: Where to.
        predictions: Of each picture its path, width and height, and the boxes; `Box.shape` is the outline.
        class_names: The classes; objects of others are left out.
    """
    pictures = (
        Picture(asset.stem, asset.suffix.removeprefix("."), width, height, predictions=tuple(boxes))
        for asset, (width, height), boxes in predictions
    )
    stream = io.StringIO()
    write_segmentation(stream, pictures, class_names=class_names)
    write_atomically(path, stream.getvalue().encode())
