"""`lode dataset import` and `report`: pictures and annotations come in, and what became of every file."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.dataset_version import print_version
from lodeworks.cli.following import DETACH, detached, follow, uploading
from lodeworks.cli.output import plain
from lodeworks.cli.session import NAMES, LodeCommand, flat, pairs
from lodeworks.cli.task_options import asked, task_options
from lodeworks.errors import NotFoundError, TaskFailedError
from lodeworks.folder import is_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lodeworks.api.dataset.v1.dataset_pb2 import GetImportReportResponse
    from lodeworks.blocking.task import Task
    from lodeworks.cli.session import Noun, Session

_SHOWN = 20
_COLUMNS = ("file", "line", "outcome", "reason", "message", "class_name", "edges")
_CHANGED = "noted"


def add_imports(group: Noun) -> None:
    """Adds the commands to the group."""
    for command in (import_, report):
        group.add_command(command)


@click.command("import", cls=LodeCommand, example="lode dataset import bccd-trainval.zip --to labelled")
@click.argument("sources", nargs=-1, required=True)
@click.option("--to", metavar="NAME", default="", help="Dataset that gets the version; default: name of the source.")
@click.option("--format", "form", type=click.Choice(["auto", "voc", "coco", "yolo"]), default="auto", show_default=True)
@click.option(
    "--unknown-classes", "unknown", type=click.Choice(["stop", "ignore", "add"]), default="stop", show_default=True
)
@click.option(
    "--names", type=NAMES, multiple=True, metavar="A,B", help="What the numbers of YOLO labels mean, from 0 on."
)
@click.option(
    "--map",
    "renamed",
    multiple=True,
    metavar="OLD=NEW",
    help="Take a class under another name; OLD= leaves its boxes out; @FILE has one such line each.",
)
@click.option("--labels-for", metavar="DATASET", default="", help="Only annotations, for the pictures it has.")
@click.option("--on-worker", is_flag=True, help="The source is a path on the worker's machine.")
@click.option("--dry-run", is_flag=True, help="Only the report; nothing is kept.")
@task_options
@DETACH
@click.pass_obj
def import_(
    session: Session,
    sources: tuple[str, ...],
    to: str,
    form: str,
    unknown: str,
    names: tuple[tuple[str, ...], ...],
    renamed: tuple[str, ...],
    labels_for: str,
    on_worker: bool,
    dry_run: bool,
    detach: bool,
) -> None:
    """Make a version from zip files, folders, addresses or paths of a worker."""
    project = session.project
    wanted = renames(renamed)
    for source in sources:
        with uploading(session, Path(source)) as progress:
            task = project.datasets.import_from(
                source,
                to=to or ("" if labels_for else _name_of(source)),
                format=form,
                unknown_classes=unknown,
                class_names=flat(names),
                class_map=wanted,
                labels_for=labels_for,
                on_worker=on_worker,
                dry_run=dry_run,
                progress=progress,
                options=asked(session),
            )
        try:
            if dry_run:
                _look(session, task, detach=detach)
                continue
            version = follow(session, task, detach=detach)
        except TaskFailedError:
            _report_if_any(session, task.id)
            raise
        if version is not None:
            print_report(session, project.datasets.report(task_id=task.id), on_stderr=True)
            print_version(session, version, next_command=f"lode dataset split {version.name} --to train=80,val=20")


def renames(values: tuple[str, ...]) -> dict[str, str]:
    """Reads ``--map`` options: ``OLD=NEW``, or ``@FILE`` with such lines; # begins a remark. Raises UsageError."""
    found: dict[str, str] = {}
    for value in values:
        lines = [value]
        if value.startswith("@"):
            try:
                text = Path(value[1:]).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise click.UsageError(f"--map: {value[1:]} cannot be read ({error})") from error
            lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
        found |= {old.strip(): new.strip() for old, new in pairs(lines, option="--map").items()}
    return found


def _name_of(source: str) -> str:
    """Returns the name of a dataset for a source: its last part without suffix."""
    plain_path = source.partition("?")[0] if is_address(source) else source
    leaf = plain_path.rstrip("/").rpartition("/")[2]
    for suffix in (".tar.gz", ".tar.xz", ".tar.bz2", Path(leaf).suffix):
        if suffix and leaf.endswith(suffix):
            return leaf.removesuffix(suffix)
    return leaf


def _look(session: Session, task: Task[Any], *, detach: bool) -> None:
    """Waits for a dry run and prints its report; Ctrl-C lets it go on."""
    if detach:
        click.echo(task.id)
        return
    try:
        task.wait()
    except KeyboardInterrupt:
        detached(session, task)
        session.output.hint(f"its report, when it is through: `lode dataset report --task {task.id}`")
        return
    print_report(session, session.project.datasets.report(task_id=task.id))


def _report_if_any(session: Session, task_id: str) -> None:
    try:
        found = session.project.datasets.report(task_id=task_id)
    except NotFoundError:
        return  # a source that could not even be opened has none; the failure itself says why
    if found.counts.files:
        print_report(session, found, on_stderr=True)


@click.command("report", cls=LodeCommand, example="lode dataset report labelled@1 --out report.csv")
@click.argument("version", required=False, default="")
@click.option("--task", "task_id", metavar="ID", default="", help="The import's task, for dry runs and failed imports.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write everything into a file: .json, or .csv with one line per problem.",
)
@click.pass_obj
def report(session: Session, version: str, task_id: str, out: Path | None) -> None:
    """Show what an import did with every file."""
    if bool(version) == bool(task_id):
        raise click.UsageError("name a version, or the task of an import with --task")
    if out is not None and out.suffix not in (".json", ".csv"):
        raise click.UsageError(f"--out: {out} must end in .json or .csv")
    found = session.project.datasets.report(version=version, task_id=task_id)
    if out is None:
        print_report(session, found)
        return
    write_report(out, json.loads(found.report_json))
    session.output.one({"path": str(out), "size_bytes": out.stat().st_size})


def write_report(out: Path, told: Mapping[str, Any]) -> None:
    """Writes a report as JSON, or its problems as CSV."""
    if out.suffix == ".json":
        out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    with out.open("w", encoding="utf-8", newline="") as sink:
        rows = csv.DictWriter(sink, _COLUMNS, restval="", extrasaction="ignore")
        rows.writeheader()
        for problem in told["problems"]:
            edges = " ".join(f"{edge:g}" for edge in problem.get("edges", ()))
            rows.writerow({key: _harmless(value) for key, value in {**problem, "edges": edges}.items()})


def _harmless(value: object) -> object:
    """Returns a value that no spreadsheet takes for a formula: names in a report are those of strangers' files."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "@", "\t", "\r") else value


def print_report(session: Session, found: GetImportReportResponse, *, on_stderr: bool = False) -> None:
    """Prints what an import did with every file: totals, reasons with their counts, the first problems."""
    if session.output.style != "table" and not on_stderr:
        session.output.one(found)
        return
    for line in _lines(plain(found.counts), json.loads(found.report_json)):
        if not on_stderr:
            click.echo(line)
        elif not session.output.quiet:
            click.echo(line, err=True)


def _lines(counts: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    if told.get("recognised"):
        yield f"read as {told['format']}: {told['recognised']}"
    yield (
        f"{counts['files']} files: {counts['pictures_accepted']} pictures and {counts['annotations_accepted']} "
        f"annotations accepted, {counts['pictures_merged']} identical, {counts['files_rejected']} rejected, "
        f"{counts['files_ignored']} ignored; {counts['boxes_accepted']} boxes accepted, "
        f"{counts['boxes_rejected']} rejected"
    )
    if told.get("labelled") is not None:
        yield f"{told['labelled']} pictures that were there got annotations"
    for old, boxes in told.get("mapped", {}).items():
        yield f"--map {old}: {boxes} boxes" + ("" if boxes else "; no box is called so")
    for name, boxes in told.get("ignored_classes", {}).items():
        yield f'class {name} is ignored in this project ({boxes} boxes kept): `lode class add "{name}"` shows them'
    problems = told["problems"]
    for problem in problems[:_SHOWN]:
        place = f"{problem['file']}:{problem['line']}" if problem.get("line") else problem["file"]
        yield f"  {place}: {problem['reason']}: {problem['message']}"
    total = len(problems) + told.get("problems_left_out", 0)
    if total > _SHOWN:
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(told["reasons"]).most_common())
        yield f"  … {total - _SHOWN} more; in all: {reasons}. `lode dataset report VERSION --out report.csv` has them"
