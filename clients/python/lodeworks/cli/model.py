"""`lode model`: train, evaluate, publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.algorithm import print_release
from lodeworks.cli.evaluation import print_evaluation
from lodeworks.cli.following import DETACH, follow, uploading
from lodeworks.cli.output import plain
from lodeworks.cli.session import NAMES, Noun, flat, settings_of
from lodeworks.cli.task_options import asked, task_options

if TYPE_CHECKING:
    from lodeworks.blocking.model import ModelVersion
    from lodeworks.cli.session import Session


@click.group("model", cls=Noun)
def model_command() -> None:
    """Train, evaluate, publish."""


def print_model(session: Session, version: ModelVersion, *, next_command: str = "") -> None:
    """Prints a version with its stages and the next command."""
    data = plain(version.data)
    stages = [
        f"{stage['name']} ({_measure(stage['metrics'])})"
        + (" recommended" if stage["name"] == data["recommended_stage"] else "")
        for stage in data["stages"]
    ]
    rows = [
        ("version", data["name"]),
        ("state", data["state"]),
        ("mAP50", data["map50"]),
        ("stages", stages),
        ("classes", data["class_names"]),
        ("executor", data["executor"]),
        ("trained on", data["train_name"]),
        ("validated on", data["val_name"]),
        ("from", data["from_stage"]),
        ("task", data["task_id"]),
    ]
    if any("mAP" not in stage["metrics"] and {"mIoU", "maskAP"} & stage["metrics"].keys() for stage in data["stages"]):
        rows = [row for row in rows if row[0] != "mAP50"]  # nobody measured boxes
    session.output.one(version.data, rows=rows)
    if next_command:
        session.output.hint(f"next: {next_command}")


def _measure(metrics: dict[str, float]) -> str:
    """Returns what a stage is compared by: mAP of boxes, mIoU or maskAP of masks."""
    names = {"mAP": "mAP50", "mIoU": "mIoU", "maskAP": "maskAP"}
    return next((f"{word} {metrics[name]:.3f}" for name, word in names.items() if name in metrics), "not measured")


@model_command.command("train", example="lode model train --train train --val val --set epochs=20")
@click.option("--train", required=True, metavar="D", help="Dataset to train on.")
@click.option("--val", required=True, metavar="D", help="Dataset to validate on.")
@click.option("--class", "classes", type=NAMES, multiple=True, metavar="A,B", help="What to learn; default: all.")
@click.option("-n", "--name", default="", help="Name of the model; default: the project's.")
@click.option("--executor", default="", help="Default: the detector.")
@click.option("--from", "from_stage", default="", metavar="M[@N][:STAGE]", help="Stage to start from.")
@click.option(
    "--longest-side", type=click.IntRange(min=0), default=0, metavar="PX", help="Scale pictures down to this."
)
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Settings of the executor.")
@click.option("--dry-run", is_flag=True, help="Only check, and show the settings in force.")
@task_options
@DETACH
@click.pass_obj
def train(session: Session, /, *, detach: bool, dry_run: bool, settings: tuple[str, ...], **given: Any) -> None:
    """Train a model."""
    project = session.project
    train_version, val = project.datasets.get(given["train"]), project.datasets.get(given["val"])
    chosen: dict[str, Any] = {
        "train": train_version,
        "val": val,
        "classes": flat(given["classes"]),
        "executor": given["executor"],
        "settings": settings_of(settings),
    }
    if dry_run:
        click.echo(project.models.settings(**chosen), nl=False)
        return
    task = project.models.train(
        name=given["name"],
        from_stage=given["from_stage"],
        longest_side_px=given["longest_side"],
        options=asked(session),
        **chosen,
    )
    version = follow(session, task, detach=detach)
    if version is not None:
        print_model(session, version, next_command=f"lode model evaluate {version.name} --on {val.name}")


@model_command.command("import", example="lode model import yolo.onnx --decoder yolov8 --class car,person -n traffic")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-n", "--name", default="", help="Name of the model; default: the file's.")
@click.option(
    "--decoder", default="", help="lodeworks, yolov5, yolov8, yolox, detr, detections; default: as the file says."
)
@click.option("--class", "classes", type=NAMES, multiple=True, metavar="A,B", help="In the network's order.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="input_size=640x640, colour, scale, fit …")
@task_options
@DETACH
@click.pass_obj
def import_model(
    session: Session,
    /,
    *,
    file: Path,
    name: str,
    decoder: str,
    classes: tuple[tuple[str, ...], ...],
    settings: tuple[str, ...],
    detach: bool,
    **_options: Any,
) -> None:
    """Import an ONNX file or a YMIR model package."""
    with uploading(session, file) as progress:
        task = session.project.models.import_from(
            file,
            name=name,
            decoder=decoder,
            classes=flat(classes),
            settings=settings_of(settings),
            options=asked(session),
            progress=progress,
        )
    version = follow(session, task, detach=detach)
    if version is not None:
        print_model(session, version, next_command=f"lode model evaluate {version.name} --on DATASET")


@model_command.command("ls", example="lode model ls")
@click.option("--hidden", is_flag=True, help="Hidden ones too.")
@click.pass_obj
def ls(session: Session, hidden: bool) -> None:
    """List the models."""
    columns: dict[str, Any] = {
        "model": "name",
        "newest": lambda data: (data["latest"] or {}).get("name"),
        "versions": "version_count",
        "mAP50": lambda data: (data["latest"] or {}).get("map50"),
    }
    session.output.many(session.project.models.list(hidden=hidden), columns=columns)


@model_command.command("show", example="lode model show cells@1")
@click.argument("model")
@click.pass_obj
def show(session: Session, model: str) -> None:
    """Show a version with its stages."""
    print_model(session, session.project.models.get(model))


@model_command.command("history", example="lode model history cells")
@click.argument("name")
@click.pass_obj
def history(session: Session, name: str) -> None:
    """List all versions of a model."""
    columns = {
        "version": "name",
        "state": "state",
        "mAP50": "map50",
        "trained on": "train_name",
        "when": "create_time",
    }
    session.output.many((entry.data for entry in session.project.models.history(name)), columns=columns)


@model_command.command("curves", example="lode model curves cells@1")
@click.argument("model")
@click.pass_obj
def curves(session: Session, model: str) -> None:
    """Show what the training measured, step by step."""
    version = session.project.models.get(model)
    points = session.client.tasks.get(version.data.task_id).metrics()
    session.output.many(points, columns={"step": "step", "name": "name", "value": "value"})


@model_command.command("recommend", example="lode model recommend cells@1:last")
@click.argument("stage")
@click.pass_obj
def recommend(session: Session, stage: str) -> None:
    """Choose the stage that is meant when none is named."""
    print_model(session, session.project.models.recommend(stage))


@model_command.command("export", example="lode model export cells@1 out/")
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--everything", is_flag=True, help="With the attachments and TensorBoard event files of its training.")
@click.pass_obj
def export(session: Session, model: str, out: Path, everything: bool) -> None:
    """Fetch the files of a stage into a folder."""
    version = session.project.models.get(model)
    paths = version.download(out)
    if everything:
        paths += version.download_files(out)
    session.output.many(({"path": str(path), "size_bytes": path.stat().st_size} for path in paths), columns=_PATHS)


_PATHS = {"path": "path", "size": "size_bytes"}
_VARIANT = click.option("--variant", default="", help="Package variant, such as openvino-int8; default: the ONNX.")
_ALGORITHM = click.option("--algorithm", default="", metavar="A@N", help="Release that has the variant.")


@model_command.command("infer", example="lode model infer cells --on pool")
@click.argument("models", nargs=-1, required=True)
@click.option("--on", "datasets", type=NAMES, multiple=True, required=True, metavar="D", help="On what.")
@_VARIANT
@_ALGORITHM
@click.option("--executor", default="", help="Default: who is associated with its trainer, else the built-in one.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Settings of the executor.")
@task_options
@DETACH
@click.pass_obj
def infer(
    session: Session,
    /,
    *,
    models: tuple[str, ...],
    datasets: tuple[tuple[str, ...], ...],
    settings: tuple[str, ...],
    detach: bool,
    **which: Any,
) -> None:
    """Predict on a dataset; makes a prediction set."""
    project = session.project
    for name in models:
        for dataset in flat(datasets):
            task = project.models.get(name).infer(
                on=project.datasets.get(dataset), settings=settings_of(settings), options=asked(session), **which
            )
            made = follow(session, task, detach=detach)
            if made is not None:
                session.output.one(made)


@model_command.command("evaluate", example="lode model evaluate cells --on test")
@click.argument("models", nargs=-1, required=True)
@click.option("--on", "datasets", type=NAMES, multiple=True, required=True, metavar="D", help="On what.")
@_VARIANT
@_ALGORITHM
@click.option("--protocol", type=click.Choice(["coco", "ymir"]), default="coco", show_default=True)
@task_options
@DETACH
@click.pass_obj
def evaluate(
    session: Session,
    models: tuple[str, ...],
    datasets: tuple[tuple[str, ...], ...],
    variant: str,
    algorithm: str,
    protocol: str,
    detach: bool,
) -> None:
    """Measure on a dataset; infers first unless the predictions are there."""
    project = session.project
    for name in models:
        for dataset in flat(datasets):
            task = project.models.get(name).evaluate(
                on=project.datasets.get(dataset),
                variant=variant,
                algorithm=algorithm,
                protocol=protocol,
                options=asked(session),
            )
            made = follow(session, task, detach=detach)
            if made is not None:
                print_evaluation(session, made)


@model_command.command(
    "publish",
    example="lode model publish cells --target onnx,openvino --precision fp32,int8 --calibrate train --guard val",
)
@click.argument("model")
@click.option("-n", "--name", default="", help="Name of the algorithm; default: the model's.")
@click.option("--target", "targets", type=NAMES, multiple=True, help="onnx, openvino, tensorrt.")
@click.option("--precision", "precisions", type=NAMES, multiple=True, help="fp32, fp16, int8.")
@click.option("--calibrate", required=True, metavar="D", help="Pictures to calibrate on.")
@click.option("--guard", required=True, metavar="D", help="Pictures on which accuracy must hold.")
@click.option("--max-drop", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Largest loss of mAP.")
@click.option("--candidate", is_flag=True, help="Leave it unsigned, to be signed later.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Settings of the converters.")
@task_options
@DETACH
@click.pass_obj
def publish(session: Session, /, model: str, *, detach: bool, settings: tuple[str, ...], **given: Any) -> None:
    """Convert, quantize, measure and release."""
    project = session.project
    task = project.models.get(model).publish(
        name=given["name"],
        targets=flat(given["targets"]),
        precisions=flat(given["precisions"]),
        calibrate=project.datasets.get(given["calibrate"]),
        guard=project.datasets.get(given["guard"]),
        max_drop=given["max_drop"],
        sign=not given["candidate"],
        settings=settings_of(settings),
        options=asked(session),
    )
    release = follow(session, task, detach=detach)
    if release is not None:
        following = f"sign {release.name}" if given["candidate"] else f"deploy {release.name} DEVICE"
        print_release(session, release, next_command=f"lode algorithm {following}")


@model_command.command("rename", example="lode model rename cells blood-cells")
@click.argument("name")
@click.argument("new_name")
@click.pass_obj
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a model another name."""
    renamed = session.project.models.rename(name, new_name)
    session.output.one(renamed, rows=[("model", renamed.name), ("versions", renamed.version_count)])


@model_command.command("delete", example="lode model delete cells@1 --yes")
@click.argument("name")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Delete a version, or a model with all of its versions."""
    session.confirm(f"delete {name}?")
    session.project.models.delete(name)
