"""Pastes figures of runs into the README, between its markers.

python benchmarks/paste_figures.py OUTPUT… [--readme README.md]

Each OUTPUT is a file with what a run printed: of a benchmark (its last line is JSON with area, figures and goals; it
becomes a table) or of `make demo` (its table is pasted as it stands).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGIN = "<!-- figures:begin"
END = "<!-- figures:end -->"
_FIRST_OF_DEMO = "installation "
_LAST_OF_DEMO = "all "
_SIGNS = {"max": "≤", "min": "≥"}


class PasteError(Exception):
    """What was given cannot be pasted; the message says why."""


def block_of(text: str) -> str:
    """Returns what a run printed as Markdown."""
    lines = text.rstrip().splitlines()
    document = _document(lines[-1] if lines else "")
    if document is not None:
        return _table(document)
    first = next((number for number, line in enumerate(lines) if line.startswith(_FIRST_OF_DEMO)), None)
    last = next((number for number, line in enumerate(lines) if line.startswith(_LAST_OF_DEMO)), None)
    if first is None or last is None:
        raise PasteError("this is neither a benchmark's output nor the whole table of `make demo`")
    return "\n".join(["`make demo`:", "", "```", *(line.rstrip() for line in lines[first : last + 1]), "```"])


def paste(readme: str, blocks: Sequence[str]) -> str:
    """Returns the README with these blocks between its markers, and nothing else changed."""
    head, marker, rest = readme.partition(BEGIN)
    opening, arrow, rest = rest.partition("-->\n")
    _, ending, tail = rest.partition(END)
    if not (marker and arrow and ending):
        raise PasteError(f"the README lacks {BEGIN} … --> or {END}")
    middle = "\n\n".join(blocks)
    return f"{head}{BEGIN}{opening}-->\n{middle}\n{END}{tail}" if blocks else readme


def _document(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "figures" in found else None


def _table(document: dict[str, Any]) -> str:
    goals = document.get("goals", {})
    rows = [f"`make bench AREA={document['area']}`:", "", "| figure | measured | goal |", "| --- | ---: | ---: |"]
    for name, value in document["figures"].items():
        goal = ", ".join(f"{_SIGNS.get(kind, kind)} {limit:g}" for kind, limit in goals.get(name, {}).items())
        rows.append(f"| {name} | {value:g} | {goal} |")
    return "\n".join(rows)


def main() -> None:
    """Reads the outputs and writes the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT")
    parser.add_argument("--readme", type=Path, default=Path(__file__).resolve().parents[1] / "README.md")
    given = parser.parse_args()
    try:
        blocks = [block_of(path.read_text("utf-8")) for path in given.outputs]
        given.readme.write_text(paste(given.readme.read_text("utf-8"), blocks), "utf-8")
    except PasteError as error:
        sys.exit(f"paste_figures: {error}")


if __name__ == "__main__":
    main()
