"""One training and one mining, as their executors run them: a folder with /in and /out, the real programs inside."""

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path

from lodeworks_builtin import mine
from lodeworks_detector.program import train
from lodeworks_evaluation.coco import coco_scores
from lodeworks_evaluation.columns import columns
from lodeworks_executor import Task
from lodeworks_formats.protocol import Environment, render_config, render_environment, render_index
from lodeworks_formats.segments import read_scores, write_pictures
from lodeworks_formats.task_inputs import MineOptions
from lodeworks_formats.ymir_results import parse_training_result
from lodeworks_runtime import decode_picture, load_onnx
from mining_rounds.plans import Plan
from mining_rounds.sets import PictureSet, unlabelled

_LEAST_SCORE = 0.01
_CLASS_AP = "AP50/"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training on some labelled pictures gave.

    Attributes:
        onnx: The best stage's network.
        class_ap: AP50 of each class as the validation measured it: what a mining is told.
        test_ap50: AP at IoU 0.5 of each class on the test pictures.
        processor_s: What training and measuring took.
    """

    onnx: Path
    class_ap: dict[str, float]
    test_ap50: dict[str, float]
    processor_s: float

    @property
    def map50(self) -> float:
        """The mean over the classes of AP at IoU 0.5 on the test pictures."""
        return math.fsum(self.test_ap50.values()) / len(self.test_ap50)


@dataclass(frozen=True, slots=True)
class Mined:
    """What a mining chose, of how many pictures, and what it took."""

    digests: tuple[str, ...]
    pictures: int
    processor_s: float


def trained(plan: Plan, pictures: PictureSet, labelled: Sequence[str], *, seed: int, folder: Path) -> Trained:
    """Returns what a training on these pictures gives; equal sets of pictures are trained on once."""
    name = sha256(json.dumps([plan.key, seed, sorted(labelled)]).encode()).hexdigest()[:24]
    place = folder / "trained" / name
    note = place / "trained.json"
    if not note.exists():
        made = _train(plan, pictures, labelled, seed=seed, place=place.with_suffix(f".{os.getpid()}"))
        place.mkdir(parents=True, exist_ok=True)
        made.onnx.replace(place / "best.onnx")
        shutil.rmtree(place.with_suffix(f".{os.getpid()}"))
        whole = place / f"trained.{os.getpid()}"
        whole.write_text(
            json.dumps({name: value for name, value in asdict(made).items() if not isinstance(value, Path)})
        )
        whole.replace(note)
    kept = json.loads(note.read_text())
    return Trained(onnx=place / "best.onnx", **kept)


def mined(
    pictures: PictureSet,
    model: Trained,
    labelled: Sequence[str],
    *,
    strategy: str,
    budget: int,
    seed: int,
    folder: Path,
) -> Mined:
    """Returns what the built-in mining chooses of the pictures that are not labelled yet."""
    candidates = unlabelled(pictures, labelled)
    options = MineOptions(
        strategy=strategy,
        top_k=budget,
        seed=seed,
        class_names=tuple(model.class_ap),
        class_ap=tuple(model.class_ap.values()),
    )
    place = folder / "mining" / str(os.getpid())
    shutil.rmtree(place, ignore_errors=True)
    task = _lay_out(place, operation="mining", config={"class_names": list(pictures.class_names)})
    (place / "in/assets").symlink_to(pictures.folder / "assets")
    given = place / "in/lode"
    (given / "model/best").mkdir(parents=True)
    (given / "model/best/best.onnx").symlink_to(model.onnx)
    write_pictures(given / "candidate", candidates, kind="view", class_names=())
    (given / "options").write_bytes(options.to_bytes())
    before_s = time.process_time()
    with _quietly():
        mine.run(task)
    took_s = time.process_time() - before_s
    digests = tuple(digest for digest, _ in read_scores(place / "out/lode/scores"))
    shutil.rmtree(place)
    return Mined(digests, len(candidates), took_s)


def _train(plan: Plan, pictures: PictureSet, labelled: Sequence[str], *, seed: int, place: Path) -> Trained:
    shutil.rmtree(place, ignore_errors=True)
    config = {"class_names": list(pictures.class_names), "export_format": "ark:raw", "seed": seed, "gpu_id": ""}
    task = _lay_out(place, operation="training", config=config | dict(plan.settings))
    known = set(labelled)
    lines = [pictures.line(one) for one in pictures.pool if one.digest in known]
    (place / "in/train-index.tsv").write_text(render_index(islice(cycle(lines), plan.passes)))
    (place / "in/val-index.tsv").write_text(render_index(pictures.line(one) for one in pictures.val))
    before_s = time.process_time()
    with _quietly():
        train(task)
    result = parse_training_result((place / "out/models/result.yaml").read_text())
    best = next(stage for stage in result.stages if stage.name == result.best_stage_name)
    onnx = place / "out/models" / best.name / "model.onnx"
    test = _measure(onnx, pictures)
    class_ap = {key.removeprefix(_CLASS_AP): value for key, value in best.scores.items() if key.startswith(_CLASS_AP)}
    return Trained(onnx, class_ap, test, time.process_time() - before_s)


def _measure(onnx: Path, pictures: PictureSet) -> dict[str, float]:
    algorithm = load_onnx(onnx)
    found = {
        one.digest: algorithm.predict([decode_picture(pictures.asset(one).read_bytes())], score=_LEAST_SCORE)[0]
        for one in pictures.test
    }
    scores = coco_scores(columns(pictures.test, found, class_names=pictures.class_names))
    return {name: one.ap50 for name, one in scores.per_class.items() if one.ap50 is not None}


def _lay_out(place: Path, *, operation: str, config: dict[str, object]) -> Task:
    for part in ("in/lode", "out/lode"):
        (place / part).mkdir(parents=True)
    environment = Environment.at(
        "benchmark", operations={operation}, input_root=str(place / "in"), output_root=str(place / "out")
    )
    (place / "in/env.yaml").write_text(render_environment(environment))
    (place / "in/config.yaml").write_text(render_config({"task_id": "benchmark", **config}))
    return Task.load(place / "in/env.yaml")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Leaves the logs of the executors out of the table."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
