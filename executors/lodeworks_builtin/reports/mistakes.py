"""Which boxes of an evaluation are wrong, worst first, and how each looks."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from lodeworks_evaluation.error_kinds import ErrorKind, kinds_of_predictions
from lodeworks_evaluation.match_table import TRUTH
from lodeworks_evaluation.thresholds import matches_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    PictureLoader = Callable[[str], NDArray[np.uint8] | None]
    """Returns the upright picture [H, W, 3] (BGR) of a digest, or None where it is not at hand."""

Rectangle = tuple[float, float, float, float]
_FALSE_ALARMS = (
    ErrorKind.CLASSIFICATION,
    ErrorKind.LOCALISATION,
    ErrorKind.BACKGROUND,
    ErrorKind.DUPLICATE,
    ErrorKind.BOTH,
)
_CONTEXT = 0.9
_SMALLEST_VIEW_PX = 72.0
_CROP_PX = 320
_JPEG_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong box. `box` is the prediction (the ground truth of a missed one), `other` what it stands against."""

    kind: ErrorKind
    digest: str
    class_name: str
    score: float | None
    box: Rectangle
    other: Rectangle | None
    other_class: str | None
    other_iou: float | None


@dataclass(frozen=True, slots=True)
class Crop:
    """A piece of a picture as a JPEG data address, with the frame it shows in the picture's pixels (x, y, w, h)."""

    address: str | None
    frame: Rectangle


def find_mistakes(table: pa.Table, *, conf: float, per_kind: int) -> Iterator[Mistake]:
    """Yields at most `per_kind` mistakes of each kind: false alarms most confident first, missed objects largest."""
    matches = matches_of(table)
    kind_column = table["kind"].to_numpy()
    count = int(np.count_nonzero(kind_column == TRUTH))
    kinds = kinds_of_predictions(matches, conf=conf)
    xywh = np.column_stack([table[name].to_numpy() for name in "xywh"])
    same_row = table["same_row"].to_numpy()[count:]
    rows = _Rows(table, xywh, matches.class_names)
    for kind in _FALSE_ALARMS:
        wrong = np.flatnonzero(kinds == kind)
        worst = wrong[np.argsort(-matches.prediction_score[wrong], kind="stable")][:per_kind]
        for row in worst.tolist():
            by_class = kind in (ErrorKind.CLASSIFICATION, ErrorKind.BOTH)
            against = int(matches.other_truth[row] if by_class else same_row[row])
            overlap = float(matches.other_iou[row] if by_class else matches.same_iou[row])
            partner = against if kind is not ErrorKind.BACKGROUND and against >= 0 else None
            yield rows.mistake(kind, count + row, partner=partner, overlap=overlap)
    missed = np.flatnonzero(matches.missed(conf))
    area = xywh[missed, 2] * xywh[missed, 3]
    for row in missed[np.argsort(-area, kind="stable")][:per_kind].tolist():
        yield rows.mistake(ErrorKind.MISSED, row, partner=None, overlap=0.0)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Reads single rows of the match table."""

    table: pa.Table
    xywh: NDArray[np.float32]
    class_names: tuple[str, ...]

    def mistake(self, kind: ErrorKind, row: int, *, partner: int | None, overlap: float) -> Mistake:
        missed = kind is ErrorKind.MISSED
        return Mistake(
            kind=kind,
            digest=self.table["digest"][row].as_py().hex(),
            class_name=self._class_name(row),
            score=None if missed else float(self.table["score"][row].as_py()),
            box=self._rectangle(row),
            other=None if partner is None else self._rectangle(partner),
            other_class=None if partner is None else self._class_name(partner),
            other_iou=None if partner is None else overlap,
        )

    def _class_name(self, row: int) -> str:
        return self.class_names[int(self.table["class_index"][row].as_py())]

    def _rectangle(self, row: int) -> Rectangle:
        x, y, w, h = (float(value) for value in self.xywh[row])
        return x, y, w, h


def crop_of(mistake: Mistake, picture: NDArray[np.uint8] | None) -> Crop:
    """Returns the surroundings of a mistake as a square: with the picture's content where there is a picture."""
    frame = _frame(mistake, None if picture is None else (picture.shape[1], picture.shape[0]))
    if picture is None:
        return Crop(None, frame)
    x, y, w, h = (round(value) for value in frame)
    piece = picture[y : y + h, x : x + w]
    scale = _CROP_PX / max(w, h)
    sampling = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    done, data = cv2.imencode(
        ".jpg", cv2.resize(piece, size, interpolation=sampling), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not done:
        return Crop(None, frame)
    return Crop("data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii"), frame)


def _frame(mistake: Mistake, size: tuple[int, int] | None) -> Rectangle:
    """Returns the square around the boxes with some context, moved (and if need be cut) to lie in the picture."""
    boxes = [mistake.box] + ([mistake.other] if mistake.other else [])
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    side = max(_SMALLEST_VIEW_PX, (1 + _CONTEXT) * max(right - left, bottom - top))
    if size is None:
        return (left + right - side) / 2, (top + bottom - side) / 2, side, side
    w, h = min(side, size[0]), min(side, size[1])
    x = min(max(0.0, (left + right - w) / 2), size[0] - w)
    y = min(max(0.0, (top + bottom - h) / 2), size[1] - h)
    return float(int(x)), float(int(y)), float(int(w)), float(int(h))
