"""The table of features keeps its word: what works names tests that exist and commands that can be typed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, check_lode, status_rows, steps

if TYPE_CHECKING:
    from pathlib import Path

ROWS = status_rows()
WORKING = [row for row in ROWS if row.state == "works"]
PAGES = {
    "tests/e2e/test_bring_your_own_onnx.py": ("bring-your-own-onnx",),
    "tests/e2e/test_bring_your_ymir_image.py": ("bring-your-ymir-image",),
    "tests/e2e/test_write_an_executor.py": ("write-an-executor",),
    "tests/e2e/test_content_pages.py": ("blobs", "logs"),
    "tests/e2e/test_dataset_page.py": ("datasets",),
    "tests/e2e/test_hard_pages.py": ("tasks", "placement", "leases", "high-availability"),
    "tests/e2e/test_import.py": ("import",),
    "tests/e2e/test_operations_page.py": ("operations",),
}
"""Test → the pages below docs/ whose commands it types."""


def test_every_row_says_works_or_later():
    assert len(ROWS) > 40
    for row in ROWS:
        assert row.state in {"works", "later"}, f"status.md:{row.line}: {row.state!r}"
        assert (row.state == "works") == bool(row.commands) == bool(row.test), f"status.md:{row.line}: {row.feature}"


@pytest.mark.parametrize("row", WORKING, ids=[row.feature for row in WORKING])
def test_what_works_can_be_typed_and_is_tested(row):
    test = ROOT / row.test
    assert test.is_file(), f"status.md:{row.line} names {row.test}, which is not there"
    assert re.search(r"^(async )?def test_", test.read_text("utf-8"), re.MULTILINE)
    for command in row.commands:
        program, *words = command.split()
        assert program == "lode", f"status.md:{row.line}: {command}"
        check_lode(words)


@pytest.mark.parametrize("row", WORKING, ids=[row.feature for row in WORKING])
def test_the_named_test_types_the_command(row):
    """What another test than that of the page types is found in its text, word by word up to the first option."""
    if row.test == "tests/e2e/test_first_hour.py":
        return  # it types every command of its rows
    if row.test in PAGES:
        typed = {step.command for page in PAGES[row.test] for step in steps(ROOT / f"docs/{page}.md")}
        typed.add("lode dataset import --on-worker")  # its path is the test's own
        missing = set(row.commands) - typed
        assert not missing, f"{' and '.join(PAGES[row.test])} do not show {missing}"
        return
    text = _said_by(ROOT / row.test)
    for command in row.commands:
        words = [word for word in command.split()[1:3] if word.isalpha()]
        assert all(f'"{word}"' in text or f".{word}(" in text for word in words), f"{row.test} types no `{command}`"


def _said_by(test: Path) -> str:
    return test.read_text("utf-8") + (ROOT / "tests/world/local_installation.py").read_text("utf-8")


def test_the_page_to_follow_has_steps():
    assert len(steps(ROOT / "docs/first-hour.md")) >= 15
