"""One evaluation: a prediction set against ground truth, as numbers and as a match table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lodeworks_evaluation.coco import ClassScores, CocoScores, coco_scores
from lodeworks_evaluation.columns import Columns
from lodeworks_evaluation.columns import columns as as_columns
from lodeworks_evaluation.error_kinds import error_shares
from lodeworks_evaluation.match_table import match_table
from lodeworks_evaluation.matching import match
from lodeworks_evaluation.thresholds import best_threshold, counts_at, matches_of
from lodeworks_evaluation.ymir import DEFAULT_CONF, DEFAULT_IOU, YmirScores, ymir_scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa
    from lodeworks_formats.boxes import Box
    from lodeworks_formats.pictures import Picture

PROTOCOLS = ("coco", "ymir")
_MINIMUM_CONF = 0.05


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model did on annotated pictures.

    `coco` and `ymir` are the same boxes under two protocols; `protocol` says which one `ap` and its like mean.
    """

    protocol: str
    coco: CocoScores
    ymir: YmirScores
    match_table: pa.Table
    pictures: int
    unannotated_pictures: int
    foreign_boxes: int

    @property
    def ap(self) -> float | None:
        """Mean AP: over IoU 0.50:0.95 with COCO, at the chosen IoU with YMIR."""
        return self.coco.ap if self.protocol == "coco" else self.ymir.ap

    @property
    def ap50(self) -> float | None:
        """Mean AP at IoU 0.5 (COCO)."""
        return self.coco.ap50

    @property
    def ap75(self) -> float | None:
        """Mean AP at IoU 0.75 (COCO)."""
        return self.coco.ap75

    @property
    def per_class(self) -> dict[str, ClassScores]:
        """The numbers of each class (COCO)."""
        return self.coco.per_class

    def summary(self) -> dict[str, Any]:
        """Returns everything but the table as JSON: plain numbers, None where nothing could be measured."""
        coco = asdict(self.coco)
        matches = matches_of(self.match_table)
        best = best_threshold(matches)
        conf = best.conf if best is not None else _MINIMUM_CONF
        total, each = counts_at(matches, conf=conf)
        per_class = {
            name: {**scores, **_threshold(best_threshold(matches, class_name=name)), **asdict(each[name])}
            for name, scores in coco.pop("per_class").items()
        }
        return {
            "protocol": self.protocol,
            "pictures": self.pictures,
            "unannotated_pictures": self.unannotated_pictures,
            "foreign_boxes": self.foreign_boxes,
            "class_names": list(per_class),
            **coco,
            "per_class": per_class,
            "best_threshold": None if best is None else asdict(best),
            "at_best_threshold": {
                **asdict(total),
                "precision": total.precision,
                "recall": total.recall,
                "f1": total.f1,
            },
            "errors": {kind.name.lower(): asdict(share) for kind, share in error_shares(matches, conf=conf).items()},
            "ymir": asdict(self.ymir),
        }


def match_table_of(columns: Columns) -> pa.Table:
    """Returns which prediction found which truth, at the ten IoUs of COCO."""
    return match_table(columns, match(columns))


def evaluate(
    pictures: Iterable[Picture],
    predictions: Mapping[str, Sequence[Box]],
    *,
    class_names: Sequence[str],
    protocol: str = "coco",
    iou: float = DEFAULT_IOU,
    conf: float = DEFAULT_CONF,
) -> Evaluation:
    """Evaluates predictions (by picture digest) against the ground truth of pictures.

    `iou` and `conf` are those of the YMIR protocol; COCO has its own. Raises ValueError for an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is not known; there are {', '.join(PROTOCOLS)}")
    columns = as_columns(pictures, predictions, class_names=class_names)
    return Evaluation(
        protocol=protocol,
        coco=coco_scores(columns),
        ymir=ymir_scores(columns, iou=iou, conf=conf),
        match_table=match_table_of(columns),
        pictures=len(columns.digests),
        unannotated_pictures=columns.unannotated_pictures,
        foreign_boxes=columns.foreign_boxes,
    )


def _threshold(best: Any) -> dict[str, float | None]:
    return {"best_conf": None if best is None else best.conf, "best_f1": None if best is None else best.f1}
