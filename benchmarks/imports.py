"""Imports end to end through `lode`: pictures a second with both hops, memory and processor time.

    python benchmarks/imports.py [--pictures 5000] [--kind zip|folder] [--size 640x480] [--json FILE]

Makes JPEGs of 640 x 480 with VOC annotations, starts an installation of its own, imports them as one zip or
folder, and prints what it took: the upload, the run and the commit are all in it. Very many small pictures
(--pictures 200000 --size 64x48) show what memory does with their number.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/world"))

from local_installation import LocalWorld

GOAL_PER_S, GOAL_PEAK_BYTES = 400.0, 500 << 20
_BASES = 40
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 75]
_SIZE = 640, 480
_LONGEST_S = 7200.0


def write_source(path: Path, *, pictures: int, seed: int = 0, size: tuple[int, int] = _SIZE) -> int:
    """Writes a zip of different JPEGs (width, height) with three boxes each; returns the bytes of the pictures."""
    chance = np.random.default_rng(seed)
    rough = [chance.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8) for _ in range(_BASES)]
    bases = [cv2.imencode(".jpg", cv2.resize(one, size), _QUALITY)[1].tobytes() for one in rough]
    total = 0
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(pictures):
            remark = f"picture {seed} {number}".encode()
            base = bases[number % _BASES]
            data = base[:2] + b"\xff\xfe" + struct.pack(">H", len(remark) + 2) + remark + base[2:]
            total += len(data)
            archive.writestr(f"images/{number:07}.jpg", data)
            archive.writestr(f"gt/{number:07}.xml", _annotation(chance, size))
    return total


def _annotation(chance: np.random.Generator, size: tuple[int, int]) -> str:
    objects, side = "", min(size) // 8
    for _ in range(3):
        x, y = chance.integers(1, size[0] - side), chance.integers(1, size[1] - side)
        corners = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + side}</xmax><ymax>{y + side}</ymax>"
        objects += f"<object><name>cell</name><bndbox>{corners}</bndbox></object>"
    told = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>{told}{objects}</annotation>"


class Processes:
    """Looks ten times a second at memory and processor time of every process whose environment names a home."""

    def __init__(self, home: Path) -> None:
        self.peaks: dict[str, int] = {}
        self.spent: dict[tuple[str, str], float] = {}
        self._before: dict[tuple[str, str], float] = {}
        self._first = True
        self._mark = f"HOME={home}".encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for folder in Path("/proc").iterdir():
                if folder.name.isdecimal():
                    self._note(folder)
            self._first = False

    def _note(self, folder: Path) -> None:
        try:
            if self._mark not in (folder / "environ").read_bytes().split(b"\0"):
                return
            words = (folder / "cmdline").read_bytes().split(b"\0")
            resident = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
            spent = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return
        name = _called([word.decode("utf-8", "replace") for word in words if word])
        self.peaks[name] = max(self.peaks.get(name, 0), resident)
        key = (folder.name, name)
        self._before.setdefault(key, spent if self._first else 0.0)
        self.spent[key] = spent - self._before[key]


def _called(words: list[str]) -> str:
    for word in words:
        leaf = word.rpartition("/")[2]
        if leaf in ("lode", "lode-controller", "lode-worker", "ingest"):
            return leaf
        if leaf.startswith("from multiprocessing"):
            return "pool process"
    return "shim" if any("shim" in word for word in words) else "other"


@dataclass(frozen=True, slots=True)
class Imported:
    """What one import took: wall time, and memory and processor time of each program."""

    pictures: int
    mib: float
    seconds: float
    pictures_per_s: float
    peak_mib: dict[str, int]
    processor_s: dict[str, float]
    processor_ms_per_picture: float
    load: float


def measure(folder: Path, *, pictures: int, kind: str = "zip", size: tuple[int, int] = _SIZE) -> Imported:
    """Imports a zip or a folder once and returns what it took."""
    source = folder / "source.zip"
    size_bytes = write_source(source, pictures=pictures, size=size)
    if kind == "folder":
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder / "source")
        source.unlink()
        source = folder / "source"
    world = LocalWorld(folder)
    world.up()
    try:
        load = os.getloadavg()[0]
        with Processes(folder) as processes:
            begin = time.monotonic()
            imported = ("dataset", "import", source, "--to", "bench", "--unknown-classes", "add")
            world.lode(*imported, timeout_s=_LONGEST_S)
            took_s = time.monotonic() - begin
        shown = world.json("dataset", "show", "bench")
    finally:
        world.down()
    assert int(shown["picture_count"]) == pictures, shown
    spent: dict[str, float] = {}
    for (_, name), seconds in processes.spent.items():
        spent[name] = spent.get(name, 0.0) + seconds
    return Imported(
        pictures=pictures,
        mib=round(size_bytes / (1 << 20), 1),
        seconds=round(took_s, 2),
        pictures_per_s=round(pictures / took_s, 1),
        peak_mib={name: round(peak / (1 << 20)) for name, peak in sorted(processes.peaks.items())},
        processor_s={name: round(seconds, 2) for name, seconds in sorted(spent.items())},
        # What another machine, or this one alone, would need: the load of others is not in it.
        processor_ms_per_picture=round(sum(spent.values()) * 1000 / pictures, 2),
        load=load,
    )


def main(arguments: list[str]) -> int:
    """Measures and prints; returns 0 when the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--kind", choices=["zip", "folder"], default="zip")
    parser.add_argument("--size", default="x".join(map(str, _SIZE)), help="of a picture")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="lode-bench-"))
    try:
        width, _, height = given.size.partition("x")
        found = measure(folder, pictures=given.pictures, kind=given.kind, size=(int(width), int(height)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    goals = {"pictures_per_s": GOAL_PER_S, "peak_mib": GOAL_PEAK_BYTES >> 20}
    text = json.dumps(asdict(found) | {"goal": goals}, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    met = found.pictures_per_s >= GOAL_PER_S and max(found.peak_mib.values()) <= GOAL_PEAK_BYTES >> 20
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
