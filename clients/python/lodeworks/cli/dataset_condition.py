"""The options of `lode dataset` that choose pictures: by labels, tags and sizes, and by what a model says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.session import NAMES, flat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks.api.dataset.v1.dataset_pb2 import Filter, PredictionFilter

_OUTCOMES = {"tp": "TRUE_POSITIVE", "fp": "FALSE_POSITIVE", "fn": "FALSE_NEGATIVE"}
_SCORE = click.FloatRange(0, 1)


def picture_options(command: Any) -> Any:
    """Adds the options on labels, tags and sizes: classes, without, tags, annotated, min_boxes, where."""
    for option in reversed(
        (
            click.option("--class", "classes", type=NAMES, multiple=True, metavar="A,B", help="With a box of these."),
            click.option("--without", type=NAMES, multiple=True, metavar="A,B", help="Without a box of any of these."),
            click.option("--tag", "tags", type=NAMES, multiple=True, metavar="A,B", help="With one of these tags."),
            click.option("--annotated/--not-annotated", default=None, help="With or without ground truth."),
            click.option("--min-boxes", type=click.IntRange(min=0), default=0, help="With at least so many boxes."),
            click.option("--where", default="", metavar="EXPR", help='Such as "boxes > 3 and width >= 640".'),
        )
    ):
        command = option(command)
    return command


def prediction_options(command: Any) -> Any:
    """Adds the options on predictions: predictions, outcomes, predicted, min_score, max_score, iou."""
    for option in reversed(
        (
            click.option(
                "--predictions", default="", metavar="SET", help="Id of a set, or its model; else the newest."
            ),
            click.option(
                "--outcome",
                "outcomes",
                type=NAMES,
                multiple=True,
                metavar="tp,fp,fn",
                help="With a box that was found (tp), invented (fp) or missed (fn).",
            ),
            click.option("--predicted", type=NAMES, multiple=True, metavar="A,B", help="Such a box, of these classes."),
            click.option("--min-score", type=_SCORE, help="Predictions below count as not made."),
            click.option("--max-score", type=_SCORE, help="Such a prediction, of at most this score."),
            click.option("--iou", type=click.FloatRange(0.5, 0.95), help="0.5, 0.55 … 0.95; default: 0.5."),
        )
    ):
        command = option(command)
    return command


def condition_of(
    *,
    classes: Sequence[Sequence[str]] = (),
    without: Sequence[Sequence[str]] = (),
    tags: Sequence[Sequence[str]] = (),
    annotated: bool | None = None,
    min_boxes: int = 0,
    where: str = "",
    predictions: PredictionFilter | None = None,
) -> Filter | None:
    """Returns what the options ask for; None when they ask for nothing."""
    from lodeworks.api.dataset.v1.dataset_pb2 import Filter

    found = Filter(
        any_class=flat(classes),
        without_class=flat(without),
        any_tag=flat(tags),
        min_boxes=min_boxes,
        expression=where,
        predictions=predictions,
    )
    if annotated is not None:
        found.annotated = annotated
    return found if found != Filter() else None


def prediction_condition(
    *,
    predictions: str,
    outcomes: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    min_score: float | None,
    max_score: float | None,
    iou: float | None,
) -> PredictionFilter | None:
    """Returns what the options ask about predictions; None when they ask nothing. A set alone asks for any prediction.

    Raises:
        UsageError: An option says nothing without another.
    """
    from lodeworks.api.dataset.v1 import dataset_pb2 as pb

    wanted = flat(outcomes)
    wrong = [name for name in wanted if name.lower() not in _OUTCOMES]
    if wrong:
        raise click.UsageError(f"--outcome takes tp, fp and fn, not {wrong[0]!r}")
    if not wanted and not flat(predicted) and min_score is None and max_score is None:
        if iou is not None:
            raise click.UsageError("--iou says from where on a box counts as found; give an --outcome too")
        return pb.PredictionFilter(prediction_set=predictions) if predictions else None
    return pb.PredictionFilter(
        prediction_set=predictions,
        any_class=flat(predicted),
        any_outcome=[pb.BoxOutcome.Value(f"BOX_OUTCOME_{_OUTCOMES[name.lower()]}") for name in wanted],
        min_score=min_score or 0.0,
        max_score=max_score,
        iou=iou or 0.0,
    )
