"""`lode dataset browse`: pictures with their boxes, as a table, as small pictures, as a page."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.dataset_condition import condition_of, picture_options, prediction_condition, prediction_options
from lodeworks.cli.following import follow
from lodeworks.cli.session import LodeCommand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lodeworks.api.dataset.v1.dataset_pb2 import Picture
    from lodeworks.blocking.dataset_version import DatasetVersion
    from lodeworks.cli.session import Session

_ONE_BY_ONE = 1_000


@click.command("browse", cls=LodeCommand, example="lode dataset browse labelled --class WBC --sheet white.html")
@click.argument("version")
@picture_options
@prediction_options
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Number of pictures.")
@click.option(
    "--thumbnails",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write small pictures into this folder.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page of small pictures with their boxes.",
)
@click.pass_obj
def browse(session: Session, /, version: str, **options: Any) -> None:
    """List pictures with their boxes; make small pictures and pages of them."""
    from lodeworks.api.dataset.v1.dataset_pb2 import PredictionFilter

    chosen = {name: options.pop(name) for name in ("limit", "thumbnails", "sheet")}
    predictions = options.pop("predictions")
    asked = prediction_condition(
        predictions=predictions,
        **{name: options.pop(name) for name in ("outcomes", "predicted", "min_score", "max_score", "iou")},
    )
    if asked == PredictionFilter(prediction_set=predictions):
        asked = None  # a set alone is shown beside and asks for nothing
    where = condition_of(**options, predictions=asked)
    dataset = session.project.datasets.get(version)
    query: dict[str, Any] = {
        "where": where,
        "prediction_set_id": predictions,
        "page_size": min(chosen["limit"], 200),
    }
    found = list(islice(dataset.pictures(**query), chosen["limit"]))
    if (chosen["thumbnails"] or chosen["sheet"]) and found:
        if not _shrink(session, dataset, found):
            return
        found = list(islice(dataset.pictures(**query, thumbnails=True), chosen["limit"]))
    _write(session, dataset, found, folder=chosen["thumbnails"], sheet=chosen["sheet"])
    session.output.many(found, columns=_columns(compared=bool(asked or predictions)))


def _shrink(session: Session, dataset: DatasetVersion, pictures: Sequence[Picture]) -> bool:
    """Sees to it that the pictures have thumbnails; False when the wait was broken off."""
    digests = [picture.digest for picture in pictures] if len(pictures) <= _ONE_BY_ONE else []
    task = session.project.curation.thumbnails([dataset.id], picture_digests=digests)
    return follow(session, task, detach=False) is not None


def _write(
    session: Session, dataset: DatasetVersion, pictures: Sequence[Picture], *, folder: Path | None, sheet: Path | None
) -> None:
    if folder is not None:
        written = dataset.write_thumbnails(pictures, folder)
        session.output.hint(f"{len(written)} small pictures are in {folder}")
    if sheet is not None:
        dataset.write_contact_sheet(pictures, sheet)
        session.output.hint(f"the page is {sheet}")


def _columns(*, compared: bool) -> Mapping[str, Any]:
    columns: dict[str, Any] = {
        "picture": lambda data: data["names"][0] if data["names"] else data["digest"][:16],
        "size": lambda data: f"{data['width']}×{data['height']}",
        "boxes": lambda data: len(data["boxes"]) if data["annotated"] else "not annotated",
        "classes": lambda data: sorted({box["class_name"] for box in data["boxes"]}),
        "tags": lambda data: data["tags"],
    }
    if compared:
        columns["predictions"] = lambda data: len(data["predictions"])
        columns["found, invented, missed"] = _outcomes
    return columns


def _outcomes(data: Mapping[str, Any]) -> str:
    predicted = Counter(box["outcome"] for box in data["predictions"])
    missed = Counter(box["outcome"] for box in data["boxes"])["false_negative"]
    return f"{predicted['true_positive']}, {predicted['false_positive']}, {missed}" if data["annotated"] else "-"
