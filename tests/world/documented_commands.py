"""The commands that README and docs tell a person to type."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import click
from lodeworks.cli.main import lode

ROOT = Path(__file__).resolve().parents[2]
RUN = re.compile(r"<!-- run(?:: exit (?P<code>\d+))? -->")
_FENCE = "```"
_PROMPT = "$ "
_PROGRAMS = ("lode", "lode-device", "lode-worker", "lode-controller", "make")
_BREAKS = re.compile(r"\s*(?:&&|\|\||[|;&])\s*|\s\d?>&?\S*\s*\S*")


@dataclass(slots=True)
class Step:
    """One command of a block that can be followed, its exit code, and the lines that the page shows below it."""

    command: str
    code: int
    line: int
    shown: list[str] = field(default_factory=list)


def pages() -> list[Path]:
    """Returns the README and the pages below docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def steps(page: Path) -> list[Step]:
    """Returns the commands of the blocks that a comment `<!-- run -->` or `<!-- run: exit 3 -->` precedes."""
    found: list[Step] = []
    code: int | None = None
    inside = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        marked = RUN.fullmatch(line.strip())
        if line.startswith(_FENCE):
            inside = not inside and code is not None
            if not inside:
                code = None
        elif inside and code is not None and line.startswith(_PROMPT):
            found.append(Step(line.removeprefix(_PROMPT), code, number))
        elif inside and line.strip():
            found[-1].shown.append(line)
        elif marked:
            code = int(marked["code"] or 0)
    return found


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """Returns every command line of our programs and of make on a page, with its line: in blocks and in the text."""
    found: list[tuple[int, list[str]]] = []
    inside = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith(_FENCE):
            inside = not inside
            continue
        if inside:
            texts = [line.removeprefix(_PROMPT)] if line.startswith(_PROMPT) else []
        else:
            texts = re.findall(r"`([^`]+)`", line)
        for text in texts:
            found += [(number, words) for words in _simple_commands(text)]
    return found


def _simple_commands(text: str) -> list[list[str]]:
    """Splits a line of shell into commands of ours, `$(…)` and `(…)` included."""
    pieces = [*re.findall(r"\$\(([^()]*)\)", text), re.sub(r"\$\([^()]*\)", "SUBSTITUTED", text).strip("() ")]
    found = []
    for piece in pieces:
        for part in _BREAKS.split(piece):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            if words and words[0] in _PROGRAMS:
                found.append(words)
    return found


def check_lode(words: list[str]) -> None:
    """Parses the words after `lode` against the command tree; raises click.UsageError for what is not there."""
    group: click.Command = lode
    context = click.Context(lode, info_name="lode")
    rest = words
    while isinstance(group, click.Group):
        parser = group.make_parser(context)
        parser.allow_interspersed_args = False
        _options, rest, _ = parser.parse_args(list(rest))
        if not rest:
            return  # the noun alone, or an option such as --help
        command = group.get_command(context, rest[0])
        if command is None:
            raise click.UsageError(f"no command {rest[0]!r}")
        context = click.Context(command, parent=context, info_name=rest[0])
        group, rest = command, rest[1:]
    if rest:
        group.make_parser(context).parse_args(list(rest))


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One row of docs/status.md."""

    feature: str
    state: str
    commands: tuple[str, ...]
    test: str
    line: int


def status_rows() -> list[StatusRow]:
    """Returns the rows of the tables in docs/status.md."""
    found = []
    for number, line in enumerate((ROOT / "docs/status.md").read_text("utf-8").splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("| ") or cells[0] in {"feature", "---"}:
            continue
        feature, state, typed, test = (*(cell.strip("| ") for cell in cells), "", "")[:4]
        found.append(StatusRow(feature, state, tuple(re.findall(r"`([^`]+)`", typed)), test, number))
    return found
