"""The benchmark of mining in small: it measures, draws, prints, and goes on where it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the detector needs the extra `detector`")

ROOT = Path(__file__).resolve().parents[2]
PAGE = "# Mining\n\n<!-- figures:begin (somehow) -->\nold\n<!-- figures:end -->\n\nmore\n"

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


def bench(folder, *more):
    """Runs it for two strategies beside random; returns its lines, its last line and its log."""
    command = [sys.executable, ROOT / "benchmarks/mining.py", "--quick", "--set", "made", "--out", folder]
    command += ["--strategies", "hybrid,typiclust", "--page", folder / "page.md", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return lines, json.loads(lines[-1]), done.stderr


def test_a_small_run_is_whole_and_is_taken_up(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    lines, document, log = bench(tmp_path)
    assert document["area"] == "mining"
    assert document["ok"]
    assert {"made_hybrid_gain", "made_hybrid_gain_low", "made_typiclust_gain"} <= set(document["figures"])
    assert {line.split()[0] for line in lines[2:5]} == {"random", "hybrid", "typiclust"}
    # Two seeds: the first set, and a round of each of three strategies.
    assert log.count("mAP50") == 8
    points = [json.loads(line) for line in (tmp_path / "points.jsonl").read_text().splitlines() if line]
    assert sorted({(point["labels"], len(point["added"])) for point in points}) == [(12, 0), (16, 4)]
    page = (tmp_path / "page.md").read_text()
    assert "| hybrid |" in page
    assert "old" not in page
    assert page.endswith("more\n")
    for name in ("mining-made-curves.png", "mining-made-gains.png"):
        assert (tmp_path / "pictures" / name).stat().st_size < 100_000

    # A kill took the last points, and the end of a line.
    kept = [json.dumps(point) + "\n" for point in points[:-2]]
    (tmp_path / "points.jsonl").write_text("".join(kept) + '{"set_name": "ma')
    again, repeated, log = bench(tmp_path)
    assert log.count("mAP50") == 2
    assert repeated["figures"]["made_hybrid_gain"] == document["figures"]["made_hybrid_gain"]
    assert [line.split()[0] for line in again[2:5]] == [line.split()[0] for line in lines[2:5]]
