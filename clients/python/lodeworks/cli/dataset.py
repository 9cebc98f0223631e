"""`lode dataset`: pictures and annotations, in versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.dataset_browse import browse
from lodeworks.cli.dataset_curation import add_curation
from lodeworks.cli.dataset_import import add_imports
from lodeworks.cli.dataset_operations import add_operations
from lodeworks.cli.dataset_version import print_version
from lodeworks.cli.following import DETACH, follow
from lodeworks.cli.output import size
from lodeworks.cli.session import NAMES, Noun, flat, settings_of
from lodeworks.cli.task_options import asked, task_options

if TYPE_CHECKING:
    from lodeworks.cli.session import Session


@click.group("dataset", cls=Noun)
def dataset_command() -> None:
    """Pictures and annotations, in versions."""


add_imports(dataset_command)
add_operations(dataset_command)
add_curation(dataset_command)
dataset_command.add_command(browse)

_VERSION_COLUMNS = {
    "version": "name",
    "state": "state",
    "pictures": "picture_count",
    "boxes": "box_count",
    "made by": "operation",
    "from": "parent_names",
    "when": "create_time",
}


@dataset_command.command("generate", example="lode dataset generate --to made --count 200 --seed 7")
@click.option("--to", metavar="NAME", required=True, help="Dataset that gets the version.")
@click.option("--count", type=click.IntRange(min=1), default=200, show_default=True, help="Number of pictures.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Settings of the generator.")
@task_options
@DETACH
@click.pass_obj
def generate(session: Session, to: str, count: int, seed: int, settings: tuple[str, ...], detach: bool) -> None:
    """Make a version of made pictures, to try things on."""
    task = session.project.datasets.generate(
        to=to, count=count, seed=seed, settings=settings_of(settings), options=asked(session)
    )
    version = follow(session, task, detach=detach)
    if version is not None:
        print_version(session, version)


@dataset_command.command("ls", example="lode dataset ls")
@click.option("--hidden", is_flag=True, help="Hidden ones too.")
@click.option("--public", is_flag=True, help="Those of all projects that everybody may copy.")
@click.pass_obj
def ls(session: Session, hidden: bool, public: bool) -> None:
    """List the datasets."""
    if public:
        shared: dict[str, Any] = {
            "project": "project_name",
            "dataset": lambda data: data["dataset"]["name"],
            "pictures": lambda data: (data["dataset"]["latest"] or {}).get("picture_count"),
        }
        session.output.many(session.project.curation.public(), columns=shared)
        return
    columns: dict[str, Any] = {
        "dataset": "name",
        "newest": lambda data: (data["latest"] or {}).get("name"),
        "versions": "version_count",
        "pictures": lambda data: (data["latest"] or {}).get("picture_count"),
        "boxes": lambda data: (data["latest"] or {}).get("box_count"),
    }
    session.output.many(session.project.datasets.list(hidden=hidden), columns=columns)


@dataset_command.command("show", example="lode dataset show labelled@1")
@click.argument("version")
@click.pass_obj
def show(session: Session, version: str) -> None:
    """Show a version."""
    print_version(session, session.project.datasets.get(version))


@dataset_command.command("history", example="lode dataset history labelled")
@click.argument("name")
@click.pass_obj
def history(session: Session, name: str) -> None:
    """List all versions of a dataset and what they were made from."""
    session.output.many((entry.data for entry in session.project.datasets.history(name)), columns=_VERSION_COLUMNS)


@dataset_command.command("stats", example="lode dataset stats labelled --class RBC,WBC")
@click.argument("version")
@click.option("--class", "classes", type=NAMES, multiple=True, metavar="A,B", help="Only these classes.")
@click.pass_obj
def stats(session: Session, version: str, classes: tuple[tuple[str, ...], ...]) -> None:
    """Count a version by class."""
    found = session.project.datasets.get(version).stats(flat(classes))
    if session.output.style != "table":
        session.output.one(found)
        return
    click.echo(
        f"{found.pictures} pictures ({size(found.size_bytes)}), {found.annotated} annotated, {found.empty} of them "
        f"empty; {found.boxes} boxes, {found.ignored_boxes} of classes outside the map"
    )
    columns = {"class": "class_name", "boxes": "boxes", "pictures": "pictures", "without": "negative_pictures"}
    session.output.many(found.classes, columns=columns)


@dataset_command.command("export", example="lode dataset export labelled labelled.zip --format voc")
@click.argument("version")
@click.argument("out", type=click.Path())
@click.option(
    "--format", "form", type=click.Choice(["voc", "vocdevkit", "coco", "yolo"]), default="voc", show_default=True
)
@click.option("--without-pictures", is_flag=True, help="Annotations only.")
@click.option("--predictions", default="", metavar="ID", help="Prediction set that goes along, below pred/.")
@task_options
@DETACH
@click.pass_obj
def export(
    session: Session, version: str, out: str, form: str, without_pictures: bool, predictions: str, detach: bool
) -> None:
    """Write a version into a zip file, or into a folder when OUT is one or ends in /."""
    task = session.project.datasets.get(version).export(
        out, format=form, with_pictures=not without_pictures, prediction_set_id=predictions, options=asked(session)
    )
    path = follow(session, task, detach=detach)
    if path is not None:
        size_bytes = sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
        session.output.one({"path": str(path), "size_bytes": size_bytes})


@dataset_command.command("copy", example="lode dataset copy labelled --from cells")
@click.argument("version")
@click.option("--from", "source", required=True, metavar="PROJECT", help="Project that has it.")
@click.option("--to", metavar="NAME", default="", help="Dataset that gets the version; default: the same name.")
@click.pass_obj
def copy(session: Session, version: str, source: str, to: str) -> None:
    """Copy a version of another project into this one, at no cost."""
    print_version(session, session.project.datasets.copy(version, from_project=source, to=to))


@dataset_command.command("rename", example="lode dataset rename labelled cells")
@click.argument("name")
@click.argument("new_name")
@click.pass_obj
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a dataset another name."""
    renamed = session.project.datasets.rename(name, new_name)
    session.output.one(renamed, rows=[("dataset", renamed.name), ("versions", renamed.version_count)])


@dataset_command.command("delete", example="lode dataset delete labelled@1 --yes")
@click.argument("name")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Delete a version, or a dataset with all of its versions."""
    session.confirm(f"delete {name}?")
    session.project.datasets.delete(name)
