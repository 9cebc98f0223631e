"""Imports through a whole installation: what docs/import.md tells to type, hostile sources, addresses, a killed run."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documented_commands import ROOT, steps
from hostile_sources import REFUSED, corpus
from ingest_world import picture, voc, zipped
from local_installation import LODE, LocalWorld, Said, eventually
from lodeworks_builtin.ingesting.parts import PART_PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/import.md"
CAR, TRUCK = ("car", 5, 6, 14, 25), ("lorry", 8, 8, 30, 30)
MANY = 2 * PART_PICTURES
SHARE = (
    *("half-a-zip", "zip-bomb", "climbing-name", "symbolic-link-in-tar", "zero-bytes", "truncated-jpg", "pixel-bomb"),
    *("exif-6", "entity-expansion", "nan-box", "coco-wrong-image", "yolo-without-names", "name-血球.jpg", "lying-size"),
)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorld]:
    """An installation whose worker lets imports read one folder and fetch from this machine; the page's sources."""
    world = LocalWorld(tmp_path_factory.mktemp("world"))
    worker = world.state / "worker"
    worker.mkdir(parents=True)
    (world.folder / "allowed").mkdir()
    (worker / "worker.toml").write_text(
        f'drivers = ["process"]\nimport_roots = ["{world.folder}/allowed"]\nimport_private_addresses = true\n'
    )
    _sources(world.folder)
    world.up()
    yield world
    world.down()


def _sources(folder: Path) -> None:
    top = "VOCdevkit/VOC2012"
    files = {f"{top}/JPEGImages/{number}.jpg": picture(number) for number in range(6)}
    files |= {f"{top}/Annotations/{number}.xml": voc(CAR) for number in range(5)}
    zipped(folder / "devkit.zip", files | {f"{top}/Annotations/5.xml": b"<annotation><object>"})
    files = {f"images/{number}.jpg": picture(10 + number) for number in range(2)}
    files |= {f"labels/{number}.txt": f"{number} 0.5 0.5 0.25 0.5".encode() for number in range(2)}
    zipped(folder / "numbers.zip", files)
    meta = b"eval_class_names: [car]\nmodel: {name: yolo-of-2021, stage_name: best}\n"
    files = {f"images/{number}.jpg": picture(20 + number) for number in range(2)}
    files |= {f"gt/{number}.xml": voc(CAR, TRUCK, ("junk", 1, 1, 9, 9)) for number in range(2)}
    files |= {f"pred/{number}.xml": voc(CAR, confidence=0.5) for number in range(2)}
    zipped(folder / "manual.zip", files | {"pred/meta.yaml": meta})
    zipped(folder / "labels.zip", {"5.xml": voc(CAR, CAR), "sub/4.xml": voc()})


def test_the_page_can_be_typed(world: LocalWorld):
    typed = steps(PAGE)
    assert len(typed) >= 12
    for step in typed:
        said = world.lode(*step.command.split()[1:], ok=False)
        everything = said.out + said.err
        assert said.code == step.code, f"{PAGE.name}:{step.line}: {step.command}\n{everything}"
        for line in step.shown:
            assert line.strip() in everything, f"{PAGE.name}:{step.line} shows {line!r}; it said\n{everything}"
        if step.code:
            quoted = next(line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("> `"))
            assert quoted.strip("> `").partition("…")[0] in everything

    with (world.folder / "report.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["reason"], row["line"], row["outcome"]) == ("BROKEN_XML", "1", "rejected")
    told = json.loads((world.folder / "report.json").read_text())
    assert (told["format"], told["dry_run"]) == ("voc", False)
    counted = {
        entry["class_name"]: int(entry["boxes"]) for entry in world.json("dataset", "stats", "manual")["classes"]
    }
    assert {name: counted[name] for name in ("car", "truck")} == {"car": 2, "truck": 2}
    assert "junk" not in counted
    pool = world.json("dataset", "show", "pool@2")
    assert (pool["picture_count"], pool["annotated_count"], pool["parent_names"]) == (6, 6, ["pool@1"])
    assert int(pool["box_count"]) == 4 + 2
    again = world.folder / "devkit-again"
    assert len(list((again / "JPEGImages").glob("*.jpg"))) == len(list((again / "Annotations").glob("*.xml"))) == 6
    assert not list(again.glob(".*"))


@pytest.mark.parametrize("name", SHARE)
def test_a_bad_source_leaves_its_line_and_nothing_half(world: LocalWorld, name: str):
    bad = next(one for one in corpus() if one.name == name)
    number = SHARE.index(name)
    source = world.folder / f"bad{number}.zip"
    bad.write(source)
    said = world.lode("dataset", "import", source, "--to", f"bad{number}", "--unknown-classes", "add", ok=False)
    assert "Traceback" not in said.out + said.err
    assert bad.reason in said.err, said
    if bad.outcome == REFUSED:
        assert said.code == 1
        assert f"bad{number}" not in {found["name"] for found in world.json("dataset", "ls")}
    else:
        assert said.code == 0
        assert bad.file in said.err
        shown = world.json("dataset", "show", f"bad{number}")
        assert (int(shown["picture_count"]), int(shown["box_count"])) == (bad.pictures, bad.boxes)
    source.unlink()


def test_paths_of_the_worker(world: LocalWorld):
    zipped(world.folder / "allowed/good.zip", {"images/a.jpg": picture(70)})
    said = world.lode("dataset", "import", world.folder / "allowed/good.zip", "--on-worker", "--to", "placed")
    assert "1 pictures" in said.err
    for path in ("/etc", f"{world.folder}/allowed/../devkit.zip"):
        said = world.lode("dataset", "import", path, "--on-worker", "--to", "stolen", ok=False)
        assert said.code == 1
        assert "SOURCE_NOT_ALLOWED" in said.err
        assert "import_roots" in said.err


def test_addresses(world: LocalWorld):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    zipped(world.folder / "allowed/away.zip", {"images/a.jpg": picture(80)})
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: Quiet(*given, directory=str(world.folder / "allowed"))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        world.lode("dataset", "import", f"{address}/away.zip?key=1")
        assert world.json("dataset", "show", "away")["picture_count"] in (1, "1")
        said = world.lode("dataset", "import", f"{address}/none.zip", ok=False)
        assert (said.code, "DOWNLOAD_FAILED" in said.err, "404" in said.err) == (1, True, True)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_killed_run_leaves_nothing_half_and_goes_on_at_its_mark(world: LocalWorld):
    path = world.folder / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        small = picture(90)
        for number in range(MANY):
            archive.writestr(f"images/{number}.jpg", small[:2] + _remark(number) + small[2:])
    task = world.lode("dataset", "import", path, "--to", "many", "--detach").out.strip()
    marks = f"worker/runs/{task}-*/out/lode/checkpoint/DONE"
    eventually(lambda: any(world.state.glob(marks)), timeout_s=60, what="a mark")
    killed = _kill_runs(task)
    assert killed
    eventually(
        lambda: world.json("task", "show", task)["state"] in ("failed", "succeeded"), timeout_s=60, what="the end"
    )
    # A program that somebody kills has failed of itself: it is not begun again unasked.
    assert all(version["state"] != "ready" for version in world.json("dataset", "history", "many"))
    assert "many" not in {found["name"] for found in world.json("dataset", "ls")}
    world.lode("task", "retry", task)
    eventually(lambda: world.json("task", "show", task)["state"] == "succeeded", timeout_s=120, what="the second run")
    shown = world.json("dataset", "show", "many")
    assert int(shown["picture_count"]) == MANY
    told = re.search(r"going on behind ([0-9,]+) pictures", world.lode("task", "logs", task).out)
    assert told is not None
    assert int(told[1].replace(",", "")) >= PART_PICTURES


def _remark(number: int) -> bytes:
    text = f"{number:08}".encode()
    return b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text


def _kill_runs(task: str) -> list[int]:
    """Kills the executors of a task with SIGKILL; returns their pids."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            ours = task.encode() in (folder / "environ").read_bytes()
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if ours and b"lodeworks_builtin" in words:
            os.kill(int(folder.name), signal.SIGKILL)
            found.append(int(folder.name))
    return found


def test_ctrl_c_lets_a_dry_run_go_on(world: LocalWorld):
    path = world.folder / "long.zip"
    with zipfile.ZipFile(path, "w") as archive:
        small = picture(91)
        for number in range(6000):
            archive.writestr(f"images/{number}.jpg", small[:2] + _remark(number) + small[2:])
    following = subprocess.Popen(
        [LODE, "dataset", "import", str(path), "--dry-run"],
        env=world.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: bool(world.json("task", "ls", "--state", "running", "--kind", "import")), what="the dry run")
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=60)
    said = Said(following.returncode, out, err)
    assert said.code == 0, said
    assert "detached; the task goes on" in err
    assert "lode dataset report --task" in err
