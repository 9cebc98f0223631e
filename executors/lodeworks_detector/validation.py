"""What the network finds in the validation pictures, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from lodeworks_evaluation.coco import coco_scores
from lodeworks_evaluation.columns import columns as as_columns
from lodeworks_evaluation.evaluation import match_table_of
from lodeworks_evaluation.thresholds import best_threshold, matches_of
from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_runtime.detections import Detections, select
from lodeworks_runtime.letterbox import Letterbox, letterbox
from lodeworks_runtime.recipe import Thresholds

from lodeworks_detector.batches import to_input
from lodeworks_detector.examples import read_picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from lodeworks_detector.examples import Example
    from lodeworks_detector.network import Detector

SCORE_THRESHOLD = 0.25
"""Of a network that finds nothing in its validation pictures, where no better one can be told."""

THRESHOLDS = Thresholds(score=0.01, nms_iou=0.6, max_detections=300, candidates=2000)


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a network is on the validation pictures.

    `ap` is the mean over IoU 0.50:0.95, `ap50` at IoU 0.5; the classes without a box there are not in `per_class`.
    `threshold` is the confidence of highest F1 at IoU 0.5: from there on an answer is worth giving.
    """

    ap: float
    ap50: float
    ar: float
    per_class: dict[str, float]
    threshold: float = SCORE_THRESHOLD

    @property
    def classes_at_zero(self) -> list[str]:
        """The classes that are there and of which the network finds as good as nothing."""
        return [name for name, value in self.per_class.items() if value < 0.01]  # noqa: PLR2004 - one in a hundred


class Validation:
    """Measures networks on the same pictures again and again."""

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        class_names: Sequence[str],
        size: tuple[int, int],
        batch_size: int,
        budget_bytes: int,
    ) -> None:
        self._examples = examples
        self._class_names = tuple(class_names)
        self._size = size
        self._batch_size = batch_size
        self._left = budget_bytes
        self._kept: dict[Path, tuple[NDArray[np.uint8], Letterbox]] = {}
        self._pictures = [self._picture(example) for example in examples]

    def measure(self, model: Detector, *, device: torch.device, precision: torch.dtype) -> Scores:
        """Returns the scores of a network that is in evaluation mode."""
        found = self.find(model, device=device, precision=precision)
        predictions = {
            _key(example.path): self._boxes(one, placement)
            for example, (one, placement) in zip(self._examples, found, strict=True)
        }
        columns = as_columns(self._pictures, predictions, class_names=self._class_names)
        scores = coco_scores(columns)
        per_class = {name: value.ap50 for name, value in scores.per_class.items() if value.ap50 is not None}
        best = best_threshold(matches_of(match_table_of(columns)))
        threshold = SCORE_THRESHOLD if best is None else max(best.conf, THRESHOLDS.score)
        return Scores(scores.ap or 0.0, scores.ap50 or 0.0, scores.ar_100 or 0.0, per_class, threshold)

    def find(
        self, model: Detector, *, device: torch.device, precision: torch.dtype
    ) -> Iterator[tuple[Detections, Letterbox]]:
        """Yields what the network finds in each picture, and how the picture lies in the input."""
        for start in range(0, len(self._examples), self._batch_size):
            prepared = [self._prepare(example.path) for example in self._examples[start : start + self._batch_size]]
            images = to_input([canvas for canvas, _ in prepared]).to(device)
            with torch.no_grad(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
                prediction = model(images)
            scores = prediction.logits.sigmoid().cpu().numpy()
            boxes = prediction.boxes.cpu().numpy()
            for row, (_, placement) in enumerate(prepared):
                yield select(scores[row], boxes[row], thresholds=THRESHOLDS), placement

    def _prepare(self, path: Path) -> tuple[NDArray[np.uint8], Letterbox]:
        found = self._kept.get(path)
        if found is None:
            found = letterbox(read_picture(path), size=self._size)
            if found[0].nbytes <= self._left:
                self._left -= found[0].nbytes
                self._kept[path] = found
        return found

    def _picture(self, example: Example) -> Picture:
        boxes = self._named(example.boxes, example.classes)
        return Picture(digest=_key(example.path), extension=example.path.suffix[1:], width=0, height=0, boxes=boxes)

    def _boxes(self, found: Detections, placement: Letterbox) -> tuple[Box, ...]:
        return self._named(placement.to_picture(found.corners), found.classes, found.scores)

    def _named(
        self, corners: NDArray[np.float32], classes: NDArray[np.integer], scores: NDArray[np.float32] | None = None
    ) -> tuple[Box, ...]:
        values = scores.tolist() if scores is not None else [None] * len(classes)
        return tuple(
            Box(self._class_names[name], left, top, right - left, bottom - top, score=score)
            for (left, top, right, bottom), name, score in zip(corners.tolist(), classes.tolist(), values, strict=True)
        )


def _key(path: Path) -> str:
    """Returns what tells the picture from the others where the evaluation wants a digest; the bytes do not matter."""
    return sha256_hex(path.stem.encode())
