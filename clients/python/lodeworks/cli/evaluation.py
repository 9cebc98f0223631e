"""`lode evaluation`: what a model gets right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.output import plain
from lodeworks.cli.session import Noun

if TYPE_CHECKING:
    from lodeworks.blocking.evaluation import Evaluation
    from lodeworks.cli.session import Session

_IOU = click.option("--iou", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Overlap for a match.")
_CONF = click.option(
    "--conf", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Boxes below do not count."
)
_CLASS = click.option("--class", "class_name", default="", metavar="A", help="Only this class.")


@click.group("evaluation", cls=Noun)
def evaluation_command() -> None:
    """What a model gets right and wrong."""


def print_evaluation(session: Session, evaluation: Evaluation) -> None:
    """Prints the scores, in all and by class, and the next command."""
    if session.output.style != "table":
        session.output.one(evaluation.data)
        return
    data = evaluation.data
    variant = f" as {data.variant}" if data.variant else ""
    click.echo(f"{data.model_name}{variant} on {data.dataset_name} ({data.protocol} protocol), evaluation {data.id}")
    click.echo(f"mAP50 {data.ap50:.4f}   mAP50:95 {data.ap:.4f}   mAP75 {data.ap75:.4f}")
    columns: dict[str, Any] = {
        "class": "class_name",
        "AP50": "ap50",
        "AP50:95": "ap",
        "truths": "truths",
        "predictions": "predictions",
    }
    session.output.many(data.classes, columns=columns)
    for warning in data.warnings:
        session.output.hint(f"warning: {warning}")
    session.output.hint(f"next: lode evaluation export {data.id} report.html")


def _get(session: Session, evaluation_id: str) -> Evaluation:
    return session.project.evaluations.get(evaluation_id)


@evaluation_command.command("ls", example="lode evaluation ls --model cells@1")
@click.option("--model", default="", metavar="M", help="Only of this model.")
@click.option("--on", "dataset", default="", metavar="D", help="Only on this version.")
@click.pass_obj
def ls(session: Session, model: str, dataset: str) -> None:
    """List the evaluations."""
    found = session.project.evaluations.list(model=model, dataset=dataset)
    columns = {
        "evaluation": "id",
        "model": "model_name",
        "variant": "variant",
        "on": "dataset_name",
        "state": "state",
        "mAP50": "ap50",
        "mAP50:95": "ap",
    }
    session.output.many((entry.data for entry in found), columns=columns)


@evaluation_command.command("show", example="lode evaluation show ID")
@click.argument("evaluation_id", metavar="ID")
@click.pass_obj
def show(session: Session, evaluation_id: str) -> None:
    """Show the scores."""
    print_evaluation(session, _get(session, evaluation_id))


@evaluation_command.command("counts", example="lode evaluation counts ID --conf 0.3")
@click.argument("evaluation_id", metavar="ID")
@_IOU
@_CONF
@click.pass_obj
def counts(session: Session, evaluation_id: str, iou: float, conf: float) -> None:
    """Count right and wrong boxes at a confidence."""
    found = _get(session, evaluation_id).counts(iou=iou, confidence=conf)
    columns: dict[str, Any] = {
        "class": lambda data: data["class_name"] or "all",
        "TP": "true_positives",
        "FP": "false_positives",
        "FN": "false_negatives",
        "precision": "precision",
        "recall": "recall",
        "F1": "f1",
    }
    session.output.many([*found.classes, found.total], columns=columns)


@evaluation_command.command("thresholds", example="lode evaluation thresholds ID")
@click.argument("evaluation_id", metavar="ID")
@_IOU
@click.pass_obj
def thresholds(session: Session, evaluation_id: str, iou: float) -> None:
    """Find the confidence with the best F1 for every class."""
    columns = {
        "class": "class_name",
        "confidence": "confidence",
        "F1": "f1",
        "precision": "precision",
        "recall": "recall",
    }
    session.output.many(_get(session, evaluation_id).thresholds(iou=iou), columns=columns)


@evaluation_command.command("curve", example="lode evaluation curve ID --class RBC -o json")
@click.argument("evaluation_id", metavar="ID")
@_CLASS
@_IOU
@click.pass_obj
def curve(session: Session, evaluation_id: str, class_name: str, iou: float) -> None:
    """Show precision and recall over confidence."""
    columns = {"confidence": "confidence", "precision": "precision", "recall": "recall"}
    session.output.many(_get(session, evaluation_id).curve(class_name=class_name, iou=iou), columns=columns)


@evaluation_command.command("confusion", example="lode evaluation confusion ID --conf 0.3")
@click.argument("evaluation_id", metavar="ID")
@_IOU
@_CONF
@click.pass_obj
def confusion(session: Session, evaluation_id: str, iou: float, conf: float) -> None:
    """Show which classes are taken for which; rows are truth, columns predictions."""
    found = _get(session, evaluation_id).confusion(iou=iou, confidence=conf)
    if session.output.style != "table":
        session.output.one(found)
        return
    names = list(found.class_names)
    rows = [
        {"truth": name, **dict(zip(names, found.counts[index * len(names) :], strict=False))}
        for index, name in enumerate(names)
    ]
    session.output.many(rows, columns={"truth": "truth", **{name: name for name in names}})


@evaluation_command.command("boxes", example="lode evaluation boxes ID --kind fp --class RBC")
@click.argument("evaluation_id", metavar="ID")
@click.option("--kind", type=click.Choice(["fp", "fn", "tp", "mtp"]), required=True, help="Which boxes.")
@_CLASS
@_IOU
@_CONF
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.pass_obj
def boxes(
    session: Session, evaluation_id: str, kind: str, class_name: str, iou: float, conf: float, limit: int
) -> None:
    """List boxes by outcome."""
    from itertools import islice

    found = _get(session, evaluation_id).boxes(kind, class_name=class_name, iou=iou, confidence=conf)
    columns: dict[str, Any] = {
        "picture": lambda data: f"{data['digest'][:12]}….{data['extension']}",
        "class": "class_name",
        "score": "score",
        "iou": "iou",
        "matched": "matched_class",
        "x y w h": lambda data: " ".join(f"{data[key]:.0f}" for key in "xywh"),
    }
    session.output.many(islice(found, limit), columns=columns)


@evaluation_command.command("export", example="lode evaluation export ID report.html")
@click.argument("evaluation_id", metavar="ID")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["html", "json"]), default="html", show_default=True)
@click.pass_obj
def export(session: Session, evaluation_id: str, out: Path, form: str) -> None:
    """Write the diagnosis into a file."""
    import json

    evaluation = _get(session, evaluation_id)
    text = evaluation.report_html() if form == "html" else json.dumps(plain(evaluation.data), indent=2)
    out.write_text(text, encoding="utf-8")
    session.output.one({"path": str(out)})


@evaluation_command.command("delete", example="lode evaluation delete ID --yes")
@click.argument("evaluation_id", metavar="ID")
@click.pass_obj
def delete(session: Session, evaluation_id: str) -> None:
    """Delete an evaluation."""
    session.confirm(f"delete evaluation {evaluation_id}?")
    session.project.evaluations.delete(evaluation_id)
