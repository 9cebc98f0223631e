"""The operations of `lode dataset` that make new versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.dataset_condition import condition_of, picture_options, prediction_condition, prediction_options
from lodeworks.cli.dataset_curation import measure
from lodeworks.cli.dataset_version import print_version
from lodeworks.cli.following import DETACH, follow
from lodeworks.cli.session import NAMES, LodeCommand, flat, settings_of
from lodeworks.cli.task_options import asked, task_options

if TYPE_CHECKING:
    from lodeworks.cli.session import Noun, Session

_TO = click.option("--to", metavar="NAME", default="", help="Dataset that gets the version; default: the same.")


def add_operations(group: Noun) -> None:
    """Adds the operations to the group."""
    for command in (filter_, exclude, sample, merge, split, mine):
        group.add_command(command)


@click.command("filter", cls=LodeCommand, example="lode dataset filter labelled --class WBC --to with-wbc")
@click.argument("version")
@picture_options
@prediction_options
@_TO
@click.option("--dry-run", is_flag=True, help="Only counts.")
@click.pass_obj
def filter_(session: Session, /, version: str, to: str, *, dry_run: bool, **options: Any) -> None:
    """Keep the pictures that a condition lets pass."""
    from lodeworks.api.dataset.v1.dataset_pb2 import Filter

    names = ("predictions", "outcomes", "predicted", "min_score", "max_score", "iou")
    predictions = prediction_condition(**{name: options.pop(name) for name in names})
    condition = condition_of(**options, predictions=predictions) or Filter()
    found = session.project.datasets.get(version).filter(condition, to=to, dry_run=dry_run)
    print_version(session, found.result())


@click.command("exclude", cls=LodeCommand, example="lode dataset exclude pool --without mined --to rest")
@click.argument("version")
@click.option("--without", type=NAMES, multiple=True, required=True, metavar="D,E", help="Versions that leave.")
@_TO
@click.pass_obj
def exclude(session: Session, version: str, without: tuple[tuple[str, ...], ...], to: str) -> None:
    """Take away the pictures of other versions."""
    datasets = session.project.datasets
    others = [datasets.get(name) for name in flat(without)]
    print_version(session, datasets.get(version).exclude(others, to=to).result())


@click.command("sample", cls=LodeCommand, example="lode dataset sample pool --count 100 --seed 1 --to some")
@click.argument("version")
@click.option("--count", type=click.IntRange(min=1), default=None, help="Number of pictures.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=None, help="Share of the pictures.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--stratified", is_flag=True, help="Each class gets its share, rare classes first.")
@_TO
@click.pass_obj
def sample(
    session: Session, version: str, count: int | None, share: float | None, seed: int, stratified: bool, to: str
) -> None:
    """Draw pictures at random."""
    if (count is None) == (share is None):
        raise click.UsageError("give either --count or --share")
    found = session.project.datasets.get(version).sample(
        count=count or 0, share=share or 0.0, seed=seed, stratified=stratified, to=to
    )
    print_version(session, found.result())


@click.command("merge", cls=LodeCommand, example="lode dataset merge train mined --to train")
@click.argument("versions", nargs=-1, required=True)
@click.option(
    "--strategy",
    type=click.Choice(["newest", "host", "guest", "stop"]),
    default="newest",
    show_default=True,
    help="Who wins where annotations differ.",
)
@_TO
@click.pass_obj
def merge(session: Session, versions: tuple[str, ...], strategy: str, to: str) -> None:
    """Join the pictures of several versions."""
    if len(versions) < 2:  # noqa: PLR2004 - one alone cannot be merged
        raise click.UsageError("name at least two versions")
    first, *others = (session.project.datasets.get(name) for name in versions)
    print_version(session, first.merge(others, strategy=strategy, to=to).result())


@click.command("split", cls=LodeCommand, example="lode dataset split labelled --to train=80,val=20")
@click.argument("version")
@click.option("--to", "parts", type=NAMES, multiple=True, required=True, metavar="A=80,B=20", help="Names and weights.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--stratified/--random", default=True, show_default=True, help="Each class gets its share in every part, or not."
)
@click.option(
    "--distance",
    type=click.IntRange(0, 7),
    default=3,
    show_default=True,
    metavar="BITS",
    help="What looks alike stays together: bits of 64 that may differ.",
)
@click.option("--identical-only", is_flag=True, help="Only identical files stay together; nothing is measured.")
@click.pass_obj
def split(
    session: Session,
    version: str,
    parts: tuple[tuple[str, ...], ...],
    *,
    seed: int,
    stratified: bool,
    distance: int,
    identical_only: bool,
) -> None:
    """Make several versions that share no picture, nor any that look alike."""
    weights = dict[str, float]()
    for part in flat(parts):
        name, equals, weight = part.partition("=")
        if name in weights:
            raise click.UsageError(f"--to names {name!r} twice; name each part once")
        try:
            weights[name] = float(weight)
        except ValueError:
            raise click.UsageError(f"--to takes NAME=WEIGHT, not {part!r}") from None
        if not equals or not name:
            raise click.UsageError(f"--to takes NAME=WEIGHT, not {part!r}")
    if not identical_only and not measure(session, [version]):
        return
    told = session.project.datasets.get(version).split(
        weights, seed=seed, stratified=stratified, distance=None if identical_only else distance
    )
    made = told.result()
    columns = {"version": "name", "pictures": "picture_count", "annotated": "annotated_count", "boxes": "box_count"}
    session.output.many((entry.data for entry in made), columns=columns)
    names = [entry.name for entry in made]
    if len(names) > 1:
        session.output.hint(f"next: lode model train --train {names[0]} --val {names[1]}")


@click.command("mine", cls=LodeCommand, example="lode dataset mine pool --top 50 --model cells --to mined")
@click.argument("version")
@click.option("--top", "top_k", type=click.IntRange(min=1), required=True, help="How many to choose.")
@click.option("--model", default="", metavar="M", help="Model that looks at the pictures.")
@click.option(
    "--strategy",
    default="",
    help="hybrid (default with a model), typiclust (default without), kcenter, entropy, least_confidence, margin, "
    "aldd, cald, random.",
)
@click.option("--executor", default="", help="Default: the built-in one.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Settings of the executor.")
@_TO
@task_options
@DETACH
@click.pass_obj
def mine(
    session: Session,
    version: str,
    top_k: int,
    model: str,
    strategy: str,
    executor: str,
    settings: tuple[str, ...],
    to: str,
    detach: bool,
) -> None:
    """Choose the pictures most worth labelling."""
    task = session.project.datasets.get(version).mine(
        top_k=top_k,
        model=model,
        strategy=strategy,
        to=to,
        executor=executor,
        settings=settings_of(settings),
        options=asked(session),
    )
    made = follow(session, task, detach=detach)
    if made is not None:
        print_version(session, made)
