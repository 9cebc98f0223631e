"""The commands of `lode dataset` that keep datasets in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.dataset_condition import condition_of, prediction_condition, prediction_options
from lodeworks.cli.dataset_version import print_version
from lodeworks.cli.following import DETACH, follow
from lodeworks.cli.output import plain
from lodeworks.cli.session import NAMES, LodeCommand, flat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks.api.dataset.v1.curation_pb2 import LineageNode
    from lodeworks.cli.session import Noun, Session

_TO = click.option("--to", metavar="NAME", default="", help="Dataset that gets the version; default: the same.")
_ALIKE = click.option(
    "--distance", type=click.IntRange(0, 7), metavar="BITS", help="Bits of 64 that may differ; 3 = nearly the same."
)
_LIMIT = click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Pictures to show.")


def add_curation(group: Noun) -> None:
    """Adds the commands to the group."""
    for command in (tag, untag, dedup, diff, lineage, leaks, hide, restore, share, signals, analyze):
        group.add_command(command)


def _tag_options(command: Any) -> Any:
    for option in (
        _TO,
        click.option("--class", "classes", type=NAMES, multiple=True, metavar="A,B", help="Boxes of these classes."),
        click.option("--boxes", is_flag=True, help="Tags of boxes, not of pictures."),
        click.option("--where", default="", metavar="EXPR", help='Which pictures, such as "class = RBC".'),
    ):
        command = option(command)
    return prediction_options(command)


@click.command("tag", cls=LodeCommand, example='lode dataset tag labelled night --where "width > 600"')
@click.argument("version")
@click.argument("tags", nargs=-1, required=True)
@_tag_options
@click.pass_obj
def tag(session: Session, /, version: str, tags: tuple[str, ...], **options: Any) -> None:
    """Add tags to pictures or boxes."""
    _change_tags(session, version, add=tags, **options)


@click.command("untag", cls=LodeCommand, example="lode dataset untag labelled night")
@click.argument("version")
@click.argument("tags", nargs=-1, required=True)
@_tag_options
@click.pass_obj
def untag(session: Session, /, version: str, tags: tuple[str, ...], **options: Any) -> None:
    """Take tags away from pictures or boxes."""
    _change_tags(session, version, remove=tags, **options)


def _change_tags(
    session: Session,
    version: str,
    *,
    where: str,
    boxes: bool,
    classes: tuple[tuple[str, ...], ...],
    to: str,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    **asked: Any,
) -> None:
    made = session.project.curation.tag(
        version,
        add=add,
        remove=remove,
        where=condition_of(where=where, predictions=prediction_condition(**asked)),
        boxes=boxes,
        class_names=flat(classes),
        to=to,
    )
    print_version(session, made)


@click.command("dedup", cls=LodeCommand, example="lode dataset dedup labelled --distance 3 --to once")
@click.argument("version")
@click.option("--distance", type=click.IntRange(0, 7), default=3, show_default=True, metavar="BITS")
@_TO
@click.option("--dry-run", is_flag=True, help="Only counts.")
@click.pass_obj
def dedup(session: Session, version: str, distance: int, to: str, dry_run: bool) -> None:
    """Keep one of each group of pictures that look alike."""
    if not measure(session, [version]):
        return
    found = session.project.curation.dedup(version, distance=distance, to=to, dry_run=dry_run)
    rows = [
        ("version", found.version.name),
        ("pictures", found.version.picture_count),
        ("left out", found.removed),
    ]
    session.output.one(found, rows=rows)


@click.command("diff", cls=LodeCommand, example="lode dataset diff labelled@1 labelled@2")
@click.argument("before")
@click.argument("after")
@_LIMIT
@click.pass_obj
def diff(session: Session, before: str, after: str, limit: int) -> None:
    """Show what is different between two versions."""
    found = session.project.curation.diff(before, after, limit=limit)
    if session.output.style != "table":
        session.output.one(found)
        return
    click.echo(
        f"{found.before.name} → {found.after.name}: {found.added} pictures added, {found.removed} removed, "
        f"{found.reannotated} annotated anew, {found.retagged} with other tags, {found.unchanged} the same"
    )
    columns = {"class": "class_name", "boxes before": "boxes_before", "boxes after": "boxes_after"}
    session.output.many(found.classes, columns=columns)
    for change in found.class_changes:
        was, now = change.before or "nothing", change.after or "nothing"
        click.echo(f"  boxes named {change.raw_name} meant {was} and mean {now} since")
    for picture in found.pictures:
        click.echo(f"  {picture.kind}: {picture.names[0] if picture.names else picture.digest[:16]}")


@click.command("lineage", cls=LodeCommand, example="lode dataset lineage labelled@2")
@click.argument("version")
@click.pass_obj
def lineage(session: Session, version: str) -> None:
    """Show what a version was made from, and what was made from it."""
    found = session.project.curation.lineage(version)
    if session.output.style != "table":
        session.output.one(found)
        return
    for title, edges in (("made from", found.up), ("made of it", found.down)):
        click.echo(f"{title}:" if edges else f"{title}: nothing")
        for edge in edges:
            click.echo(f"  {_name(edge.parent)} → {_name(edge.child)} ({edge.role})")


def _name(node: LineageNode) -> str:
    named = node.name or f"{node.type} {node.id}"
    return f"{named} [classes at revision {node.class_map_revision}]" if node.class_map_revision else named


@click.command("leaks", cls=LodeCommand, example="lode dataset leaks train val --distance 3")
@click.argument("versions", nargs=-1, required=True)
@_ALIKE
@_LIMIT
@click.pass_obj
def leaks(session: Session, versions: tuple[str, ...], distance: int | None, limit: int) -> None:
    """Find pictures that are, or look like, one of another version."""
    if distance is not None and not measure(session, versions):
        return
    found = session.project.curation.leaks(versions, distance=distance, limit=limit)
    if session.output.style != "table":
        session.output.one(found)
        return
    columns = {"one": "first", "other": "second", "identical": "identical", "alike": "alike"}
    session.output.many(found.counts, columns=columns)
    for leak in found.leaks:
        one, other = leak.first_name or leak.first_digest[:16], leak.second_name or leak.second_digest[:16]
        how = "the same" if leak.first_digest == leak.second_digest else f"{leak.distance} bits apart"
        click.echo(f"  {leak.first} {one} = {leak.second} {other} ({how})")


@click.command("hide", cls=LodeCommand, example="lode dataset hide labelled")
@click.argument("name")
@click.pass_obj
def hide(session: Session, name: str) -> None:
    """Leave a dataset out of lists; `ls --hidden` shows it."""
    found = session.project.curation.hide(name)
    session.output.one(found, rows=[("dataset", found.name), ("hidden", found.hidden)])


@click.command("restore", cls=LodeCommand, example="lode dataset restore labelled")
@click.argument("name")
@click.pass_obj
def restore(session: Session, name: str) -> None:
    """Show a hidden dataset in lists again."""
    found = session.project.curation.restore(name)
    session.output.one(found, rows=[("dataset", found.name), ("hidden", found.hidden)])


@click.command("share", cls=LodeCommand, example="lode dataset share labelled")
@click.argument("name")
@click.option("--end", is_flag=True, help="No longer; copies that were made stay.")
@click.pass_obj
def share(session: Session, name: str, end: bool) -> None:
    """Let everybody of the installation copy a dataset."""
    found = session.project.curation.share(name, public=not end)
    rows = [("dataset", found.name), ("public", not end), ("id", found.id)]
    session.output.one(found, rows=rows)


@click.command("signals", cls=LodeCommand, example="lode dataset signals labelled")
@click.argument("versions", nargs=-1, required=True)
@DETACH
@click.pass_obj
def signals(session: Session, versions: tuple[str, ...], detach: bool) -> None:
    """Measure pictures that were not measured yet: likeness, sharpness, exposure, contrast."""
    count = follow(session, session.project.curation.signals(versions), detach=detach)
    if count is not None:
        session.output.one({"measured": count})


def measure(session: Session, versions: Sequence[str]) -> bool:
    """Sees to it that all pictures are measured; False when the wait was broken off."""
    return follow(session, session.project.curation.signals(versions), detach=False) is not None


@click.command("analyze", cls=LodeCommand, example="lode dataset analyze train val --html report.html")
@click.argument("versions", nargs=-1, required=True)
@click.option("--predictions", type=NAMES, multiple=True, metavar="ID,ID", help="Per dataset; default: the newest.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the page into this file.")
@DETACH
@click.pass_obj
def analyze(
    session: Session,
    versions: tuple[str, ...],
    predictions: tuple[tuple[str, ...], ...],
    html: Path | None,
    detach: bool,
) -> None:
    """Draw distributions of datasets and their predictions, side by side."""
    if not measure(session, versions):
        return
    task = session.project.curation.analyze(versions, prediction_set_ids=flat(predictions))
    found = follow(session, task, detach=detach)
    if found is None:
        return
    if html is not None:
        found.report_html(html)
        session.output.hint(f"the page is {html}")
    summary = found.summary()
    if session.output.style != "table":
        session.output.one(summary)
        return
    columns: dict[str, Any] = {
        "dataset": "name",
        "side": "side",
        "pictures": "pictures",
        "with boxes": "with_boxes",
        "boxes": "boxes",
        "per picture": lambda row: f"{row['boxes_per_picture']:.2f}",
        "MB": lambda row: f"{row['megabytes']:.1f}",
    }
    session.output.many(plain(summary)["totals"], columns=columns)
