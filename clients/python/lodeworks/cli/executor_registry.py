"""What is changed about executors: register, pull, check, bound, associate, share, copy, rename."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lodeworks.cli.following import DETACH, follow
from lodeworks.cli.output import plain, size
from lodeworks.cli.session import LodeCommand, settings_of

if TYPE_CHECKING:
    from lodeworks.api.executor.v1.executor_pb2 import CheckReport, Executor
    from lodeworks.cli.session import Session

_TEMPLATES = {"train": "training-template.yaml", "mine": "mining-template.yaml", "infer": "infer-template.yaml"}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType[int]):
    """A size such as 512M or 16G; 0 means the worker's default."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the bytes."""
        text = str(value).strip().upper().removesuffix("B").removesuffix("I")
        unit = text[-1:] if text[-1:] in _UNITS else ""
        number = text.removesuffix(unit)
        if not (number.isascii() and number.isdigit()):
            self.fail(f"{value!r} is no size; write it as 512M, 16G or 0", param, ctx)
        return int(number) * _UNITS[unit]


def print_executor(session: Session, found: Executor, *, templates: bool = False) -> None:
    """Prints an executor, if need be with the settings of what it can do."""
    data = plain(found)
    rows = [
        ("executor", found.name),
        ("kind", found.kind),
        ("image", found.image),
        ("registered as", found.reference if found.reference != found.image else ""),
        ("project", found.project),
        ("public", "yes" if found.public else ""),
        ("can", list(found.operations)),
        ("object types", list(found.object_types) if len(found.object_types) > 1 else ""),
        ("mines with", found.mining_executor),
        ("infers with", found.inference_executor),
        ("policy", _policy(data["policy"] or {})),
        ("available", found.available or found.unavailable_reason),
    ]
    session.output.one(found, rows=[(key, value) for key, value in rows if value != ""])
    if templates and session.output.style == "table":
        for template in found.templates:
            click.echo(f"\nsettings for {template.operation}:\n{template.template_yaml.rstrip()}")


def _policy(policy: dict[str, Any]) -> str:
    told = [f"network {policy['network']}"] if policy.get("network") else []
    told += [f"user {policy['user']}"] if policy.get("user") else []
    for name, word in (("memory_bytes", "memory"), ("shm_bytes", "shared memory"), ("out_bytes", "/out")):
        if policy.get(name):
            told.append(f"{word} {size(policy[name])}")
    return ", ".join(told)


@click.command("add", cls=LodeCommand, example="lode executor add yolo --image registry.example/yolo:1.2")
@click.argument("name")
@click.option(
    "--image", default="", metavar="REF", help="host/name:tag or name@sha256:…; a worker fetches and reads it."
)
@click.option("--program", is_flag=True, help="A program that workers offer under this name, instead of an image.")
@click.option(
    "--templates",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with training-, mining- and infer-template.yaml, for a program, or for an image that no worker reads.",
)
@DETACH
@click.pass_obj
def add(session: Session, /, name: str, image: str, program: bool, templates: Path | None, detach: bool) -> None:
    """Register a docker image, or a program of the workers, as an executor."""
    if bool(image) == program:
        raise click.UsageError("name the image with --image, or say --program")
    if program and templates is None:
        raise click.UsageError("a program needs its --templates: a folder as /img-man of an image")
    texts = {} if templates is None else _read(templates)
    task = session.client.executors.add(name, image=image, templates=texts, project=session.project.name)
    found = follow(session, task, detach=detach)
    if found is not None:
        print_executor(session, found)
        session.output.hint(f"next: lode executor check {found.name}" if image else f"next: lode executor show {name}")


def _read(folder: Path) -> dict[str, str]:
    found = {
        operation: (folder / file).read_text("utf-8")
        for operation, file in _TEMPLATES.items()
        if (folder / file).exists()
    }
    if not found:
        raise click.UsageError(f"{folder} holds none of {', '.join(_TEMPLATES.values())}")
    return found


@click.command("pull", cls=LodeCommand, example="lode executor pull yolo --newest")
@click.argument("executor")
@click.option("--newest", is_flag=True, help="Ask the registry what the tag means now, and pin that.")
@DETACH
@click.pass_obj
def pull(session: Session, /, executor: str, newest: bool, detach: bool) -> None:
    """Fetch the image of an executor onto a worker, ahead of its first run."""
    task = session.client.executors.pull(executor, newest=newest, project=session.project.name)
    found = follow(session, task, detach=detach)
    if found is not None:
        print_executor(session, found)


@click.command("check", cls=LodeCommand, example="lode executor check registry.example/yolo:1.2 --set epochs=1")
@click.argument("image")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Settings for all operations that have them.")
@click.option("--gpus", type=click.IntRange(min=0), default=0, metavar="N", help="GPUs that every run gets.")
@click.option("--run-timeout", type=click.IntRange(min=1), default=600, metavar="S", help="Longest time of one run.")
@DETACH
@click.pass_obj
def check(
    session: Session, /, image: str, settings: tuple[str, ...], gpus: int, run_timeout: int, detach: bool
) -> None:
    """Prove an image against the executor protocol; exit code 1 when something fails."""
    task = session.client.executors.check(
        image,
        settings=settings_of(settings),
        gpus=gpus,
        run_timeout_s=run_timeout,
        project=session.project.name,
    )
    report = follow(session, task, detach=detach)
    if report is None:
        return
    _print_report(session, report)
    if not report.passed:
        raise SystemExit(1)


def _print_report(session: Session, report: CheckReport) -> None:
    if session.output.style != "table":
        session.output.one(report)
        return
    width = max((len(one.name) for one in report.findings), default=0)
    for one in report.findings:
        click.echo(f"{one.outcome:<8} {one.name:<{width}}  {one.seen}".rstrip())
        if one.advice:
            click.echo(f"{'':<8} {'':<{width}}  → {one.advice}")
    failed = sum(one.outcome == "failed" for one in report.findings)
    click.echo(f"\n{report.image}: {f'{failed} failed' if failed else 'keeps the protocol'}")


@click.command("set", cls=LodeCommand, example="lode executor set yolo --network none --memory 8G")
@click.argument("executor")
@click.option("--network", metavar="NAME", help="none, bridge, or a network of the worker's engine; '' = its default.")
@click.option("--memory", type=Size(), metavar="N", help="Main memory of a run, such as 8G; 0 = no bound.")
@click.option("--shm", type=Size(), metavar="N", help="Shared memory of a run; 0 = as its template says.")
@click.option("--user", metavar="UID[:GID]", help="Who the program is inside the container; '' = the worker's.")
@click.option("--out", type=Size(), metavar="N", help="The most that a run may write to /out; 0 = no bound.")
@click.pass_obj
def set_policy(
    session: Session,
    /,
    executor: str,
    network: str | None,
    memory: int | None,
    shm: int | None,
    user: str | None,
    out: int | None,
) -> None:
    """Set under which bounds the runs of an executor stand."""
    found = session.client.executors.set(
        executor, network=network, memory_bytes=memory, shm_bytes=shm, user=user, out_bytes=out
    )
    print_executor(session, found)


@click.command("associate", cls=LodeCommand, example="lode executor associate yolo --mining yolo-mine --inference yolo")
@click.argument("executor")
@click.option("--mining", metavar="E", help="Who mines with what it trained; '' = nobody of its own.")
@click.option("--inference", metavar="E", help="Who infers with what it trained; '' = nobody of its own.")
@click.pass_obj
def associate(session: Session, executor: str, mining: str | None, inference: str | None) -> None:
    """Name who mines and infers with what an executor trained."""
    if mining is None and inference is None:
        raise click.UsageError("name who mines with --mining, who infers with --inference")
    print_executor(session, session.client.executors.associate(executor, mining=mining, inference=inference))


@click.command("share", cls=LodeCommand, example="lode executor share yolo")
@click.argument("executor")
@click.option("--take-back", is_flag=True, help="For its own project alone again.")
@click.pass_obj
def share(session: Session, executor: str, take_back: bool) -> None:
    """Let every project use an executor."""
    print_executor(session, session.client.executors.share(executor, public=not take_back))


@click.command("copy", cls=LodeCommand, example="lode executor copy yolo --to my-yolo --project cells")
@click.argument("executor")
@click.option("--to", required=True, metavar="NAME", help="Name of the copy.")
@click.pass_obj
def copy(session: Session, executor: str, to: str) -> None:
    """Copy an executor into the project, with settings and bounds of its own; the image is the same."""
    print_executor(session, session.client.executors.copy(executor, to=to, project=session.project.name))


@click.command("rename", cls=LodeCommand, example="lode executor rename yolo --to yolo-v5")
@click.argument("executor")
@click.option("--to", required=True, metavar="NAME", help="Its new name.")
@click.pass_obj
def rename(session: Session, executor: str, to: str) -> None:
    """Give an executor another name."""
    print_executor(session, session.client.executors.rename(executor, to=to))


CHANGES = (add, pull, check, set_policy, associate, share, copy, rename)
