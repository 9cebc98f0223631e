"""What becomes of boxes when the predictions of a model are held against ground truth, and how people ask for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from lodeworks_controller.errors import InvalidError

IOUS: Final = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The IoUs at which predictions are matched, as COCO has them."""

_NEAR: Final = 1e-6


class Outcome(Enum):
    """Found, invented or missed."""

    TRUE_POSITIVE = "tp"
    FALSE_POSITIVE = "fp"
    FALSE_NEGATIVE = "fn"


@dataclass(frozen=True, slots=True)
class HasPrediction:
    """At least one box that fulfils all of this; without outcomes, a prediction.

    Attributes:
        classes: Of one of these; empty = any.
        outcomes: With one of these; empty = any prediction, compared or not.
        min_score: Predictions below count as not made.
        max_score: Predictions above match, but are not looked for.
        iou: From which a prediction may match; one of IOUS.
    """

    classes: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    min_score: float = 0.0
    max_score: float = 1.0
    iou: float = IOUS[0]


@dataclass(frozen=True, slots=True)
class PredictionFilter:
    """A condition on what a prediction set says of a picture; ``prediction_set`` is its id, its model, or empty."""

    prediction_set: str = ""
    what: HasPrediction = field(default_factory=HasPrediction)

    def condition(self) -> HasPrediction:
        """Returns the condition, its IoU exactly one of IOUS; raises InvalidError FILTER_INVALID."""
        for name in ("min_score", "max_score"):
            score = getattr(self.what, name)
            if not 0 <= score <= 1:
                raise InvalidError("FILTER_INVALID", f"{name} is {score:g}; give 0 to 1", field="filter.predictions")
        if self.what.min_score > self.what.max_score:
            message = f"min_score {self.what.min_score:g} is above max_score {self.what.max_score:g}; swap them"
            raise InvalidError("FILTER_INVALID", message, field="filter.predictions")
        iou = next((known for known in IOUS if abs(known - self.what.iou) < _NEAR), None)
        if iou is None:
            message = f"iou is {self.what.iou:g}; give one of {', '.join(map(str, IOUS))}"
            raise InvalidError("FILTER_INVALID", message, field="filter.predictions")
        return replace(self.what, iou=iou)

    def resolved(self, prediction_set: str) -> "PredictionFilter":
        """Returns the same question to a set by its id, as versions record it."""
        return replace(self, prediction_set=prediction_set)

    def parameters(self) -> Mapping[str, Any]:
        """Returns what is said, as plain data."""
        what = self.what
        return {
            "prediction_set": self.prediction_set,
            "classes": list(what.classes),
            "outcomes": [outcome.value for outcome in what.outcomes],
            "min_score": what.min_score,
            "max_score": what.max_score,
            "iou": what.iou,
        }
