"""Generates the blocking client from the asyncio one; with --check only says whether it is up to date."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import unasync

PACKAGE = Path(__file__).resolve().parent / "lodeworks"
SOURCE = PACKAGE / "resources"
TARGET = PACKAGE / "blocking"
RUFF = Path(sysconfig.get_path("scripts")) / "ruff"


def _replacements(sources: list[Path]) -> dict[str, str]:
    """Names of ours that lose their prefix, and modules that move."""
    names = {name for path in sources for name in re.findall(r"\bAsync[A-Z]\w+", path.read_text("utf-8"))}
    return {name: name.removeprefix("Async") for name in names} | {"resources": "blocking"}


def _generate(folder: Path) -> None:
    sources = sorted(SOURCE.glob("*.py"))
    rule = unasync.Rule(str(SOURCE) + "/", str(folder) + "/", additional_replacements=_replacements(sources))
    unasync.unasync_files([str(path) for path in sources], [rule])
    for path in folder.glob("*.py"):
        text = path.read_text("utf-8").replace("asyncio client", "blocking client")
        path.write_text(
            text.replace("`lodeworks.blocking` is generated from it", "generated from `lodeworks.resources`")
        )
    subprocess.run([RUFF, "check", "-q", "--fix", "--select", "I,F401", folder], check=True)
    subprocess.run([RUFF, "format", "-q", folder], check=True)


def main() -> int:
    """Generates, or checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is out of date")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory(dir=PACKAGE.parent) as name:
        folder = Path(name)
        _generate(folder)
        made = {path.name: path.read_bytes() for path in folder.glob("*.py")}
    there = {path.name: path.read_bytes() for path in TARGET.glob("*.py")}
    if made == there:
        return 0
    if check:
        print(
            "the blocking client does not match resources/: run `python clients/python/generate_blocking.py`",
            file=sys.stderr,
        )
        return 1
    TARGET.mkdir(exist_ok=True)
    for path in TARGET.glob("*.py"):
        path.unlink()
    for file, content in made.items():
        (TARGET / file).write_bytes(content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
