"""What a person, a file or a machine gets wrong: a clear error with the next step, and nothing half done."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bad_sources import archive, labelled, noise, voc
from local_installation import DEVICE, LODE, LocalWorld, Said, eventually
from made_network import CLASSES, encoded, made_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
WORKER, CONTROLLER = str(BIN / "lode-worker"), str(BIN / "lode-controller")
TRAIN = ("model", "train", "--train", "labelled", "--val", "labelled", "-n", "m", "--set", "input_size=128x160")
FAILED, WRONG_USE, NOT_FOUND, REFUSED, UNREACHABLE = 1, 2, 3, 4, 5
STRANGER = "sha256:" + "0" * 64
ROOM_BYTES, LEFT_BYTES = 200_000_000, 6_000_000
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def labelled_world(world: LocalWorld) -> LocalWorld:
    """An installation with a labelled dataset of class car, a bare one, and a class that no picture has."""
    world.lode("class", "add", "car", "ghost")
    world.lode("dataset", "import", labelled(world.folder / "good.zip", {"a": voc("car")}, seed=50), "--to", "labelled")
    world.lode("dataset", "import", labelled(world.folder / "bare.zip", {"b": None}, seed=60), "--to", "bare")
    return world


@pytest.fixture(scope="module")
def odd_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorld]:
    """Another installation: its state on disks of its own where the machine allows it, its executor an odd one."""
    world = LocalWorld(tmp_path_factory.mktemp("odd"))
    worker = world.state / "worker"
    for folder in (world.state / "controller", worker):
        folder.mkdir(parents=True)
        mount = ("mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(folder))
        subprocess.run(mount, check=False, capture_output=True, timeout=10)
    program = json.dumps([sys.executable, str(Path(__file__).parents[1] / "world/odd_executor.py")])
    (worker / "worker.toml").write_text(f'drivers = ["process"]\n[executors.detector]\ncommand = {program}\n')
    try:
        world.up()
        yield world
    finally:
        world.down()
        for folder in (world.state / "controller", worker):
            subprocess.run(["umount", str(folder)], check=False, capture_output=True, timeout=10)


def _says(said: Said, code: int, *words: str) -> None:
    """The exit code, every word on stderr, and no traceback."""
    assert said.code == code, said
    assert "Traceback" not in said.err + said.out, said
    assert not [word for word in words if word not in said.err], said


def _program(world: LocalWorld, *command: str | Path) -> Said:
    done = subprocess.run(
        list(map(str, command)), env=world.environment, capture_output=True, text=True, timeout=60, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


def _nothing_ready(world: LocalWorld, dataset: str) -> bool:
    return all(version["state"] != "ready" for version in world.json("dataset", "history", dataset))


def _nothing_running(world: LocalWorld) -> bool:
    return not world.json("task", "ls", "--state", "queued,leased,running,suspect,cancelling,finishing")


# --- sources ---


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", ("BROKEN_ARCHIVE", "pack it again")),
        ("empty", ("EMPTY_SOURCE", "images/")),
        ("hostile", ("UNSAFE_NAME", "../../evil.png", "pack it again")),
    ],
)
def test_a_bad_zip_makes_no_version(world: LocalWorld, name: str, words: tuple[str, ...]):
    path = world.folder / f"{name}.zip"
    if name == "broken":
        path.write_bytes(b"PK\x03\x04 the rest was lost")
    else:
        archive(path, {"../../evil.png": noise(1)} if name == "hostile" else {})
    _says(world.lode("dataset", "import", path, "--to", name, ok=False), FAILED, *words)
    assert _nothing_ready(world, name)
    assert _nothing_running(world)


def test_a_source_that_is_not_there(world: LocalWorld):
    _says(world.lode("dataset", "import", "nothere.zip", ok=False), WRONG_USE, "nothere.zip is not there")


def test_broken_xml_is_named_and_the_rest_is_taken(labelled_world: LocalWorld):
    hostile = '<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>'
    annotations = {"broken": "<annotation><object>", "hostile": hostile, "good": voc("car")}
    path = labelled(labelled_world.folder / "xml.zip", annotations, seed=70)
    said = labelled_world.lode("dataset", "import", path, "--to", "xml")
    _says(said, 0, "gt/broken.xml:1: BROKEN_XML", "gt/hostile.xml: HOSTILE_XML", "2 rejected")
    version = labelled_world.json("dataset", "show", "xml")
    assert (version["picture_count"], version["annotated_count"], version["box_count"]) == (3, 1, 1)


def test_unknown_classes_stop_are_ignored_and_are_added(world: LocalWorld):
    path = labelled(world.folder / "zoo.zip", {"z": voc("zebra"), "h": voc("horse")}, seed=80)
    imported = ("dataset", "import", path, "--to", "zoo")
    _says(world.lode(*imported, ok=False), FAILED, "horse (1 boxes), zebra (1 boxes)", "lode class add horse zebra")
    assert _nothing_ready(world, "zoo")
    assert not {"horse", "zebra"} & {entry["name"] for entry in world.json("class", "ls")}
    world.lode(*imported, "--unknown-classes", "ignore")
    assert world.json("dataset", "show", "zoo")["box_count"] == 0
    said = world.lode(*imported, "--unknown-classes", "add")
    _says(said, 0, 'class horse is ignored in this project (1 boxes kept): `lode class add "horse"` shows them')
    assert world.json("dataset", "show", "zoo")["box_count"] == 0
    world.lode("class", "add", "horse", "zebra")
    assert world.json("dataset", "show", "zoo")["box_count"] == 2
    assert {"horse", "zebra"} <= {entry["name"] for entry in world.json("class", "ls")}


# --- trainings ---


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--class", "car", "--set", "epoch=1"), WRONG_USE, ("no setting 'epoch'", "did you mean epochs?")),
        (("--class", "car", "--set", "gpu_count=1"), WRONG_USE, ("'gpu_count'", "reserved")),
        (("--class", "ghost"), REFUSED, ("no picture of labelled@1 has ghost", "label some")),
        (("--class", "gost"), WRONG_USE, ("did you mean ghost?",)),
        (("--train", "bare"), REFUSED, ("bare@1 has no annotations", "import its pictures again")),
        (("--train", "labeled"), NOT_FOUND, ("no dataset 'labeled'", "lode dataset ls")),
        (("--class", "car", "--executor", "nobody"), NOT_FOUND, ("no executor 'nobody'", "there are: detector")),
    ],
)
def test_a_training_that_cannot_be_is_refused_at_once(
    labelled_world: LocalWorld, more: tuple[str, ...], code: int, words: tuple[str, ...]
):
    before = labelled_world.json("task", "ls", "--kind", "train")
    _says(labelled_world.lode(*TRAIN, *more, ok=False), code, *words)
    assert labelled_world.json("task", "ls", "--kind", "train") == before


def test_a_setting_out_of_its_range_fails_with_its_name(labelled_world: LocalWorld):
    said = labelled_world.lode(*TRAIN, "--class", "car", "--set", "epochs=-3", ok=False)
    _says(said, FAILED, "setting 'epochs'", "at least 1")
    assert all(version["state"] != "ready" for version in labelled_world.json("model", "history", "m"))


def test_ctrl_c_detaches_from_a_followed_command(labelled_world: LocalWorld):
    world = labelled_world
    command = [LODE, *TRAIN, "-n", "long", "--class", "car", "--set", "epochs=9999", "--set", "patience=9999"]
    # Tests that were started in the background would hand on that Ctrl-C is to be ignored.
    command = ["env", "--default-signal=INT", *command]
    following = subprocess.Popen(
        command, env=world.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: bool(world.json("task", "ls", "--state", "running", "--kind", "train")), what="the training")
    task = world.json("task", "ls", "--kind", "train")[0]
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=30)
    _says(Said(following.returncode, out, err), 0, "detached", f"lode task watch {task['id']}")
    assert world.json("task", "show", task["id"])["state"] == "running"
    world.lode("task", "cancel", task["id"])
    eventually(lambda: _nothing_running(world), what="the cancel")


def test_what_no_worker_offers_waits_and_says_so(labelled_world: LocalWorld):
    world = labelled_world
    task_id = world.lode(*TRAIN, "--class", "car", "--gpus", "64", "--detach").out.strip()
    eventually(lambda: bool(world.json("task", "show", task_id)["message"]), what="the reason")
    task = world.json("task", "show", task_id)
    assert task["state"] == "queued"
    assert "64 GPUs" in task["message"]
    world.lode("task", "cancel", task_id)
    eventually(lambda: _nothing_running(world), what="the cancel")


def test_an_executor_that_no_worker_offers_waits_and_names_the_worker(odd_world: LocalWorld):
    world = odd_world
    _labelled_squares(world)
    templates = Path(__file__).parents[2] / "executors/lodeworks_detector/img-man"
    image = "registry.invalid/yolo@sha256:" + "1" * 64
    world.lode("executor", "add", "yolo", "--image", image, "--templates", templates)
    task_id = world.lode(*TRAIN[:-2], "-n", "y", "--executor", "yolo", "--detach").out.strip()
    eventually(lambda: bool(world.json("task", "show", task_id)["message"]), what="the reason")
    task = world.json("task", "show", task_id)
    assert task["state"] == "queued"
    assert "no worker offers driver:docker" in task["message"]
    world.lode("task", "cancel", task_id)
    eventually(lambda: _nothing_running(world), what="the cancel")


# --- publishing ---


def _labelled_squares(world: LocalWorld) -> None:
    if any(dataset["name"] == "labelled" for dataset in world.json("dataset", "ls")):
        return
    files: dict[str, bytes | str] = {}
    for seed in range(6):
        image, squares = made_picture(seed, count=3)
        boxes = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>"
            for name, x, y, w, h in squares
        )
        files[f"images/{seed}.png"] = encoded(image)
        files[f"gt/{seed}.xml"] = f"<annotation>{boxes}</annotation>"
    world.lode("class", "add", *CLASSES)
    world.lode("dataset", "import", archive(world.folder / "squares.zip", files), "--to", "labelled")


def _publish(world: LocalWorld, model: str, *more: str) -> Said:
    return world.lode("model", "publish", model, "--calibrate", "labelled", "--guard", "labelled", *more, ok=False)


def test_a_model_without_onnx_is_not_published(odd_world: LocalWorld):
    _labelled_squares(odd_world)
    odd_world.lode(*TRAIN[:-2], "-n", "foreign", "--set", "epochs=1")
    _says(_publish(odd_world, "foreign"), REFUSED, "ONNX")
    assert "foreign" not in [algorithm["name"] for algorithm in odd_world.json("algorithm", "ls")]


def test_a_drop_beyond_the_guard_is_no_release(odd_world: LocalWorld):
    _labelled_squares(odd_world)
    odd_world.lode(*TRAIN[:-2], "-n", "fragile", "--set", "epochs=2", "--class", ",".join(CLASSES))
    said = _publish(odd_world, "fragile", "--target", "onnx", "--precision", "int8", "--max-drop", "0")
    _says(said, FAILED, "onnx-int8", "drop")
    (algorithm,) = [entry for entry in odd_world.json("algorithm", "ls") if entry["name"] == "fragile"]
    assert algorithm["latest"] is None
    assert _nothing_running(odd_world)


# --- machines ---


def test_a_wrong_or_used_token_enrols_nobody(world: LocalWorld, tmp_path: Path):
    for noun, program in (("worker", WORKER), ("device", DEVICE)):
        line = world.json(noun, "add", f"box-{noun}")["line"].split()
        *enroll, token = line[1:]
        state = tmp_path / noun
        wrong = _program(world, program, *enroll, "lodejoin_nonsense", "--state", state)
        _says(wrong, REFUSED, "token is unknown, used or expired", f"lode {noun} add")
        _says(_program(world, program, "run", "--state", state), REFUSED, "not enrolled", f"lode {noun} add")
        _says(_program(world, program, *enroll, token, "--state", state), 0)
        used = _program(world, program, *enroll, token, "--state", tmp_path / f"{noun}-2")
        _says(used, REFUSED, "token is unknown, used or expired")
        again = _program(world, program, *enroll, token, "--state", state)
        _says(again, REFUSED, "already", "--force")
        stranger = [STRANGER if part.startswith("sha256:") else part for part in enroll]
        pinned = _program(world, program, *stranger, token, "--state", tmp_path / f"{noun}-3")
        _says(pinned, REFUSED, "does not belong to the authority", "check address and fingerprint")
        nobody = ["127.0.0.1:1" if part.startswith("127.0.0.1:") else part for part in enroll]
        gone = _program(world, program, *nobody, token, "--state", tmp_path / f"{noun}-4")
        _says(gone, UNREACHABLE, "nobody answers at 127.0.0.1:1")


def test_who_speaks_to_another_installation_is_told(world: LocalWorld, odd_world: LocalWorld, tmp_path: Path):
    other = json.loads((odd_world.state / "controller/controller.json").read_text())["listen_agents"]
    for noun, program in (("worker", WORKER), ("device", DEVICE)):
        state = tmp_path / noun
        line = world.json(noun, "add", f"astray-{noun}")["line"].split()
        _says(_program(world, program, *line[1:], "--state", state), 0)
        note = state / f"identity/{noun}.json"
        note.write_text(json.dumps(json.loads(note.read_text()) | {"agents": other}))
        log = tmp_path / f"{noun}.log"
        with log.open("wb") as written:
            running = subprocess.Popen(
                [program, "run", "--state", str(state)], env=world.environment, stdout=written, stderr=written
            )
        try:
            eventually(lambda log=log: "is not the controller whose authority is pinned" in log.read_text(), what=noun)
            assert running.poll() is None, "it tries on: the right controller may come back"
        finally:
            running.terminate()
            running.wait(20)
            if program == DEVICE:  # its front outlives it, as it should
                _program(world, program, "shutdown", "--state", state)
        assert "Traceback" not in log.read_text()


def test_a_controller_that_is_not_there(world: LocalWorld):
    ca = json.loads((world.state / "controller/controller.json").read_text())["ca_fingerprint"]
    said = world.lode("login", "127.0.0.1:1", "--ca", ca, "--token", "x", ok=False)
    _says(said, UNREACHABLE, "nobody answers at 127.0.0.1:1", "check that the controller runs")
    said = world.lode("dataset", "ls", "--profile", "nobody", ok=False)
    assert said.code in {WRONG_USE, NOT_FOUND, REFUSED}
    assert "Traceback" not in said.err


def test_a_stopped_installation_and_a_port_in_use(tmp_path: Path):
    world = LocalWorld(tmp_path)
    world.lode("up", "-d", "--no-worker", "--state", world.state)
    try:
        second = world.lode("up", "-d", "--no-worker", "--state", world.state)
        _says(second, 0, "a controller runs here already")
        serve = (CONTROLLER, "serve", "--state", world.state / "controller", "--listen", "127.0.0.1:0")
        _says(_program(world, *serve), REFUSED, "a controller runs on", "choose another --state")
        world.lode("down", "--state", world.state)
        server = world.profile().server
        _says(world.lode("dataset", "ls", ok=False), UNREACHABLE, f"nobody answers at {server}", "lode up")
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind(("127.0.0.1", int(server.rpartition(":")[2])))
            squatter.listen()
            said = world.lode("up", "-d", "--no-worker", "--state", world.state, ok=False)
            _says(said, REFUSED, f"port {server.rpartition(':')[2]}", "--state")
            serve = (CONTROLLER, "serve", "--state", world.state / "controller", "--listen", server)
            _says(_program(world, *serve), REFUSED, f"{server} cannot be listened on", "--listen")
        world.lode("up", "-d", "--no-worker", "--state", world.state)
    finally:
        world.down()


def test_a_second_worker_on_the_same_state_is_refused(world: LocalWorld):
    said = _program(world, WORKER, "run", "--state", world.state / "worker")
    _says(said, REFUSED, "a worker runs on", "another --state")


# --- full disks ---


@contextmanager
def _nearly_full(folder: Path) -> Iterator[None]:
    """Leaves little room on the disk of a folder, and gives it back."""
    if not folder.is_mount():
        pytest.skip("only root may mount a small disk")
    _resize(folder, shutil.disk_usage(folder).used + LEFT_BYTES)
    try:
        yield
    finally:
        _resize(folder, ROOM_BYTES)


def _resize(folder: Path, size_bytes: int) -> None:
    command = ("mount", "-o", f"remount,size={size_bytes}", str(folder))
    subprocess.run(command, check=True, capture_output=True, timeout=10)


@pytest.fixture
def big(odd_world: LocalWorld, request: pytest.FixtureRequest) -> Path:
    """A source of 17 MB whose pictures no other test has."""
    seed = sum(request.node.name.encode())
    files = {f"images/{number}.png": noise(seed + number, width=800, height=600) for number in range(12)}
    return archive(odd_world.folder / f"{request.node.name}.zip", files)


def test_a_full_disk_of_the_controller(odd_world: LocalWorld, big: Path):
    with _nearly_full(odd_world.state / "controller"):
        said = odd_world.lode("dataset", "import", big, "--to", "heavy", ok=False)
        _says(said, FAILED, "the controller's disk is full", "make room and repeat")
        assert "heavy" not in {dataset["name"] for dataset in odd_world.json("dataset", "ls")}
        assert _nothing_running(odd_world)
    odd_world.lode("dataset", "import", big, "--to", "heavy")
    assert odd_world.json("dataset", "show", "heavy")["picture_count"] == 12


def test_a_full_disk_of_the_worker(odd_world: LocalWorld, big: Path):
    folder = odd_world.state / "worker"
    with _nearly_full(folder):
        said = odd_world.lode("dataset", "import", big, "--to", "broad", ok=False, timeout_s=120)
        _says(said, FAILED, "the worker's disk is full", "make room", str(folder))
        assert _nothing_ready(odd_world, "broad")
        assert _nothing_running(odd_world)
    odd_world.lode("dataset", "import", big, "--to", "broad")
    assert odd_world.json("dataset", "show", "broad")["picture_count"] == 12
