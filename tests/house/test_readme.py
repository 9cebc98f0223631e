"""What README and docs tell a person to type exists: every command, every option, every target of make, every link."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, check_lode, commands, pages

if TYPE_CHECKING:
    from pathlib import Path

FOUND = [(page, line, words) for page in pages() for line, words in commands(page)]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
VERBS = {
    "lode-device": {"enroll", "run", "status", "doctor", "shutdown"},
    "lode-worker": {"enroll", "run", "status", "doctor"},
    "lode-controller": {"init", "serve", "backup", "verify", "restore", "upgrade", "migrate", "doctor"},
}


@pytest.mark.parametrize(
    ("page", "line", "words"), FOUND, ids=[f"{page.name}:{line} {' '.join(words)}"[:100] for page, line, words in FOUND]
)
def test_what_is_printed_can_be_typed(page: Path, line: int, words: list[str]):
    program, *rest = words
    if program == "make":
        missing = {word for word in rest if "=" not in word} - TARGETS
        assert not missing, f"{page.name}:{line}: make has no target {missing}"
    elif program == "lode":
        check_lode(rest)
    else:
        verbs = [word for word in rest if not word.startswith("-")][:1]
        assert not verbs or verbs[0] in VERBS[program], f"{page.name}:{line}: {program} has no {verbs}"


def test_the_readme_names_the_two_commands_and_the_next_pages():
    text = (ROOT / "README.md").read_text("utf-8")
    for needed in (
        "make demo",
        "make test",
        "lode doctor",
        "docs/status.md",
        "docs/first-hour.md",
        "<!-- figures:end -->",
    ):
        assert needed in text


def test_links_lead_somewhere():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_figures_are_pasted_between_the_markers(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("paste_figures", ROOT / "benchmarks/paste_figures.py")
    assert spec is not None
    assert spec.loader is not None
    pasting = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pasting)
    readme = (ROOT / "README.md").read_text("utf-8")
    run = 'figure\n{"area": "x", "figures": {"y_s": 1.5}, "goals": {"y_s": {"max": 2}}, "ok": true}\n'
    demo = "noise\ninstallation        up   1.0 s\nall     2.0 s\nnext:\n"
    pasted = pasting.paste(readme, [pasting.block_of(run), pasting.block_of(demo)])
    assert "| y_s | 1.5 | ≤ 2 |" in pasted
    assert "installation        up   1.0 s\nall     2.0 s\n```" in pasted
    assert pasted.partition(pasting.BEGIN)[0] == readme.partition(pasting.BEGIN)[0]
    assert pasted.rpartition(pasting.END)[2] == readme.rpartition(pasting.END)[2]
    again = pasting.paste(pasted, [pasting.block_of(run)])
    assert "installation  " not in again
    with pytest.raises(pasting.PasteError):
        pasting.block_of("nothing of ours")
