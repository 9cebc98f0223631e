"""Pictures a second of one core: training, inference, mining, and inference beside a bare loop on onnxruntime.

Every measurement is a process of its own, as the worker starts it. What it takes to start (a run on one picture) is
taken off and shown apart; what is counted is processor time, in which the load of others is not.
"""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from detector_runs.cells import Cells, last_stage, lay_out, train
from lodeworks_builtin.made_pictures.archive import made_pictures
from lodeworks_builtin.made_pictures.shapes import CLASSES
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import write_pictures
from lodeworks_formats.task_inputs import GenerateOptions, InferOptions, MineOptions

WIDTH, HEIGHT = 640, 480
_VALIDATED = 60
_MADE = CLASSES[:3]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process took: processor time in seconds, and its greatest resident memory in MiB."""

    processor_s: float
    peak_mib: float


def make_training(folder: Path, *, pictures: int) -> Cells:
    """Writes made pictures with their annotations; the last 60 validate."""
    pairs = []
    options = GenerateOptions(pictures=pictures + _VALIDATED, width=WIDTH, height=HEIGHT, classes=len(_MADE))
    for number, (data, note) in enumerate(made_pictures(options)):
        pair = folder / f"{number:05}.jpg", folder / f"{number:05}.xml"
        for path, content in zip(pair, (data, note), strict=True):
            path.write_bytes(content or b"<annotation></annotation>")
        pairs.append(pair)
    return Cells(training=pairs[:pictures], validation=pairs[pictures:], test=[])


def training_speed(folder: Path, cells: Cells) -> tuple[float, Spent, Path]:
    """Returns pictures a second of processor time, what the longer of two trainings took, and its model."""
    spent = {}
    for epochs in (1, 4):
        root = folder / f"train{epochs}"
        env_file = lay_out(root, cells, class_names=_MADE, epochs=epochs, input_size="256x320")
        processor_s, peak_mib = train(env_file)
        spent[epochs] = Spent(processor_s, peak_mib)
    speed = 3 * len(cells.training) / (spent[4].processor_s - spent[1].processor_s)
    return speed, spent[4], last_stage(folder / "train4") / "model.onnx"


class Candidates:
    """Different JPEGs with the same contents as some made ones, in the folders of a built-in executor's run."""

    def __init__(self, folder: Path, *, bases: Sequence[Path], count: int) -> None:
        self._assets = folder / "assets"
        self._folder = folder
        self.pictures: list[Picture] = []
        for number in range(count):
            base = bases[number % len(bases)].read_bytes()
            remark = f"candidate {number}".encode()
            data = base[:2] + b"\xff\xfe" + struct.pack(">H", len(remark) + 2) + remark + base[2:]
            picture = Picture(
                digest=sha256_hex(data), extension="jpg", width=WIDTH, height=HEIGHT, size_bytes=len(data)
            )
            path = self._assets / asset_path(picture.upright_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.pictures.append(picture)

    def run(self, builtin: str, model: Path, chosen: slice) -> tuple[Spent, Path]:
        """Runs a built-in executor over some of them on one thread; returns what it took and where its output lies."""
        root = self._folder / f"{builtin}-{chosen.start}-{chosen.stop}"
        given, left = root / "in", root / "out"
        (given / "lode/model").mkdir(parents=True)
        (left / "lode").mkdir(parents=True)
        (given / "assets").symlink_to(self._assets)
        (given / "lode/model/model.onnx").symlink_to(model)
        (given / "config.yaml").write_text("{}\n")
        options = InferOptions(threads=1) if builtin == "infer" else MineOptions(top_k=100)
        (given / "lode" / roles.OPTIONS).write_bytes(options.to_bytes())
        places = {"task_id": "t1", "input": {"root_dir": str(given)}, "output": {"root_dir": str(left)}}
        (given / "env.yaml").write_text(yaml.safe_dump(places))
        write_pictures(
            given / "lode" / roles.CANDIDATE, iter(self.pictures[chosen]), kind="view", class_names=list(_MADE)
        )
        environment = {**os.environ, "LODE_ENV_FILE": str(given / "env.yaml")}
        spent, _ = _spent([sys.executable, "-m", "lodeworks_builtin", builtin], environment)
        return spent, left / "lode"

    def run_bare(self, model: Path, chosen: slice) -> tuple[Spent, int]:
        """Runs the bare loop over the same; returns what it took and how many boxes it found."""
        paths = [str(self._assets / asset_path(picture.upright_name)) for picture in self.pictures[chosen]]
        listed = self._folder / "listed.json"
        listed.write_text(json.dumps(paths))
        program = Path(__file__).with_name("bare_loop.py")
        spent, answer = _spent([sys.executable, str(program), str(model), str(listed)], dict(os.environ))
        return spent, int(answer)


def _spent(command: Sequence[str], environment: dict[str, str]) -> tuple[Spent, str]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{' '.join(command)} failed"
    return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), answer
