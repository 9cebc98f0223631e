"""An import that was killed goes on at its last mark, and ends as if nobody had killed it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from ingest_world import CELL, picture, voc, zipped
from lodeworks_builtin.ingest import ingest
from lodeworks_builtin.ingesting.parts import Rhythm
from lodeworks_executor.checkpoint import Checkpoint
from lodeworks_formats.blob_pack import packs, read_packed, remove_pack
from lodeworks_formats.segments import read_pictures
from lodeworks_formats.task_inputs import IngestOptions

if TYPE_CHECKING:
    from pathlib import Path

    from lodeworks_formats.pictures import Picture

OPTIONS = IngestOptions(class_map=(("cell", "Cell"), ("junk", "")))


class KilledError(BaseException):
    """What no code of ours catches."""


@dataclass
class DeadlyTimer:
    """Counts seconds by its calls, and kills the run at one of them."""

    left: int

    def __call__(self) -> float:
        self.left -= 1
        if not self.left:
            raise KilledError
        return float(-self.left)


def write_source(path: Path, *, first: int = 0) -> Path:
    """Writes 20 pictures, some of them identical, with labels that are missing, different, broken or renamed."""
    files = {f"images/{number:02}.jpg": picture(first + number) for number in range(20)}
    files |= {f"gt/{number:02}.xml": voc(("cell", 1.25, 2, 9 + number / 3, 20)) for number in range(2, 20, 2)}
    files["gt/05.xml"] = b"<annotation><object>"
    files["gt/06.xml"] = voc(CELL, ("junk", 2, 2, 8, 8), ("cell", 7, 7, 7, 7))
    files["images/07.jpg"] = b"\xff\xd8\xff cut off"
    for later, earlier in ((9, 2), (11, 3), (16, 6), (17, 6), (19, 3)):
        files[f"images/{later:02}.jpg"] = files[f"images/{earlier:02}.jpg"]
    files["gt/09.xml"] = voc(("cell", 30, 30, 40, 40))  # differs
    files["gt/11.xml"] = voc(("cell", 3.3, 3, 11.7, 12))  # is the first for these bytes
    files["gt/16.xml"] = files["gt/06.xml"]  # says the same
    files["gt/19.xml"] = voc(("cell", 3.3, 3, 11.7, 12))
    return zipped(path, files)


def run(source: Path, out: Path, *, timer: DeadlyTimer, told: list[str] | None = None) -> dict[str, Any]:
    """Runs an import that leaves a mark after every third picture; returns its report."""
    out.mkdir(exist_ok=True)
    report = ingest(
        source,
        exchange=out / "exchange",
        blobs=out / "blobs",
        options=OPTIONS,
        progress=lambda _, line: None if told is None else told.append(line),
        checkpoint=Checkpoint(inputs=out / "none", outputs=out / "checkpoint"),
        rhythm=Rhythm(part_pictures=3, most_parts=3, part_s=1e9, mark_every_s=0.0, timer=timer),
    )
    return report.to_json()


def rows(out: Path) -> list[Picture]:
    return list(read_pictures(out / "exchange"))


def test_wherever_it_is_killed_it_ends_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "s.zip")
    whole = run(source, tmp_path / "whole", timer=DeadlyTimer(0))
    assert whole["reasons"].keys() >= {"IDENTICAL", "ANNOTATION_DIFFERS", "BROKEN_XML", "TRUNCATED", "CLASS_LEFT_OUT"}
    steps, resumed = 1, 0
    while True:
        out = tmp_path / f"killed-{steps}"
        try:
            run(source, out, timer=DeadlyTimer(steps))
            break
        except KilledError:
            assert not (out / "exchange").exists()
        capsys.readouterr()
        assert run(source, out, timer=DeadlyTimer(0)) == whole
        resumed += "going on behind" in capsys.readouterr().out
        assert rows(out) == rows(tmp_path / "whole")
        assert read_packed(out / "blobs").keys() == {row.digest for row in rows(out)}
        assert not list(out.glob(".parts-*"))
        steps += 2
    assert steps > 20
    assert resumed > steps // 4


def test_what_was_read_before_the_mark_is_not_read_again(tmp_path: Path) -> None:
    source = write_source(tmp_path / "s.zip")
    out = tmp_path / "out"
    with pytest.raises(KilledError):
        run(source, out, timer=DeadlyTimer(16))
    done = json.loads(next((out / "checkpoint").glob("*-state.json")).read_text())["done"]
    assert done > 0
    before = read_packed(out / "blobs").keys()
    for name in packs(out / "blobs"):
        remove_pack(out / "blobs", name)  # the worker has sent them
    run(source, out, timer=DeadlyTimer(0))
    after = read_packed(out / "blobs").keys()
    assert after | before == {row.digest for row in rows(out)}
    assert len(after & before) < len(before)


@pytest.mark.parametrize("spoil", ["another source", "other options", "state.json", "part-0", "places.bin"])
def test_a_mark_that_does_not_fit_is_left_alone(tmp_path: Path, spoil: str) -> None:
    source = write_source(tmp_path / "s.zip")
    out = tmp_path / "out"
    with pytest.raises(KilledError):
        run(source, out, timer=DeadlyTimer(16))
    if spoil == "another source":
        write_source(source, first=100)
    elif spoil == "other options":
        state = next((out / "checkpoint").glob("*-state.json"))
        state.write_text(json.dumps(json.loads(state.read_text()) | {"identity": "0"}))
    else:
        next((out / "checkpoint").glob(f"*-{spoil}")).write_bytes(b"x")
    told = run(source, out, timer=DeadlyTimer(0))
    assert told == run(source, tmp_path / "fresh", timer=DeadlyTimer(0))
    assert rows(out) == rows(tmp_path / "fresh")
