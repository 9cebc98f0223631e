"""An executor in the forms of protocol 1.1.0, which breaks in any way that its settings say."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from events import write_events

if TYPE_CHECKING:
    from collections.abc import Callable

ENV = yaml.safe_load(Path("/in/env.yaml").read_text(encoding="utf-8"))
OUT = {name: Path(path) for name, path in ENV["output"].items()}
_MOST_MIB = 512


class Trouble(Exception):  # noqa: N818 - what an executor's author would call it
    """A failure with a code of the protocol."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def tell(share: float, state: int = 2, *more: object) -> None:
    """Writes monitor.txt: truncated and written anew, as such images do it."""
    line = "\t".join(str(part) for part in (ENV["task_id"], time.time(), share, state, *more))
    OUT["monitor_file"].write_text(f"{line}\nworking\n", encoding="utf-8")


def index(name: str) -> list[list[str]]:
    """Returns the lines of an index file."""
    text = Path(ENV["input"][name]).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    if not rows:
        raise Trouble(300002, f"{name} names no picture")
    for row in rows:
        if not Path(row[0]).exists():
            raise Trouble(300002, f"{row[0]} is not there")
        if Path(row[0]).read_bytes()[:2] != b"\xff\xd8" and Path(row[0]).suffix == ".jpg":
            raise Trouble(300003, f"{row[0]} is no JPEG")
    return rows


def train(config: dict[str, Any]) -> None:
    """Averages boxes, writes stages as it goes, attachments and event files."""
    rows, names = index("training_index_file"), config["class_names"]
    index("val_index_file")
    boxes = learnt(Path(rows[0][1]), names)
    stages, points = {}, []
    for epoch in range(1, int(config["epochs"]) + 1):
        name = f"epoch_{epoch}"
        folder = OUT["models_dir"] / name
        folder.mkdir(parents=True)
        (folder / "weights.json").write_text(json.dumps(boxes), encoding="utf-8")
        (folder / "config.txt").write_text(f"{epoch}\n", encoding="utf-8")
        stages[name] = {
            "stage_name": name,
            "files": ["weights.json", "config.txt"],
            "timestamp": int(time.time()),
            "mAP": round(1 - 1 / (epoch + 1), 4),
            "mAR": 0.5,
            "TP": epoch,
            "fp": 1,
            "fn": 2,
        }
        points += [(epoch, "loss/box", 1 / epoch), (epoch, "val/mAP", stages[name]["mAP"])]
        tell(epoch / int(config["epochs"]) * 0.99)
        print(f"epoch {epoch}: loss {1 / epoch:.3f}", flush=True)
    kept = dict(list(stages.items())[-int(config["stages"]) :])
    notes = OUT["models_dir"] / "attachments" / "notes"
    notes.mkdir(parents=True)
    (notes / "readme.md").write_text("what this model is\n", encoding="utf-8")
    write_events(OUT["tensorboard_dir"] / "run" / "events.out.tfevents.1", points=points, begun_at=time.time())
    result = {
        "best_stage_name": next(reversed(kept)),
        "model_stages": kept,
        "evaluate_config": {"iou_thr": 0.5, "conf_thr": 0.005},
        "attachments": {"notes": ["readme.md"]},
    }
    OUT["training_result_file"].write_text(yaml.safe_dump(result), encoding="utf-8")


def learnt(annotations: Path, names: list[str]) -> dict[str, list[float]]:
    """Returns the mean box of each class, read from the COCO file."""
    told = json.loads(annotations.read_text(encoding="utf-8"))
    by_id = {entry["id"]: entry["name"] for entry in told["categories"]}
    if [by_id[place] for place in range(len(names))] != names:
        raise Trouble(300002, "the categories do not match class_names")
    found = {}
    for name in names:
        boxes = [one["bbox"] for one in told["annotations"] if by_id[one["category_id"]] == name]
        if boxes:
            found[name] = [sum(box[place] for box in boxes) / len(boxes) for place in range(4)]
    return found


def mine(config: dict[str, Any]) -> None:
    """Scores each candidate by its hash, in no order."""
    assets = [row[0] for row in index("candidate_index_file")]
    if config["fault"] == "lost_candidate":
        assets = assets[1:]
    if config["fault"] == "foreign_candidate":
        assets[0] = "/in/assets/00/0000.jpg"
    lines = [f"{asset}\t{int(hashlib.sha256(asset.encode()).hexdigest()[:6], 16) / 1e7}\n" for asset in assets]
    OUT["mining_result_file"].write_text("".join(lines), encoding="utf-8")


def infer(config: dict[str, Any]) -> None:
    """Says for every candidate what was learnt."""
    weights = next(path for path in config["model_params_path"] if path.endswith("weights.json"))
    found = [
        {
            "box": dict(zip("xywh", box, strict=True)),
            "class_name": "griffin" if config["fault"] == "strange_class" else name,
            "score": 0.75,
        }
        for name, box in json.loads(Path(weights).read_text(encoding="utf-8")).items()
    ]
    assets = [Path(row[0]).name for row in index("candidate_index_file")]
    result = {"detection": {name: {"boxes": found} for name in assets}}
    OUT["infer_result_file"].write_text(json.dumps(result), encoding="utf-8")


def crash(code: int) -> None:
    """Fails with a code of the protocol; 0 goes on."""
    if code:
        raise Trouble(code, "told to crash")


def hang(_config: dict[str, Any]) -> None:
    """Never ends, and hears no SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)


def garbage(_config: dict[str, Any]) -> None:
    """Prints what is no text, and leaves what is no result."""
    os.write(1, bytes(range(256)) * 8 + b"\n")
    OUT["models_dir"].mkdir(exist_ok=True)
    OUT["training_result_file"].write_text("}{ [", encoding="utf-8")
    OUT["mining_result_file"].write_text("no score\n", encoding="utf-8")
    OUT["infer_result_file"].write_text("{", encoding="utf-8")
    sys.exit(0)


def half_monitor(_config: dict[str, Any]) -> None:
    """Leaves half a line in monitor.txt for a while, as a write that is going on."""
    for text in (f"{ENV['task_id']}\t17", "", f"{ENV['task_id']}\t1.5\t0.2"):
        OUT["monitor_file"].write_text(text, encoding="utf-8")
        time.sleep(0.4)


def fill_out(_config: dict[str, Any]) -> None:
    """Writes to /out until somebody says no."""
    try:
        with (OUT["root_dir"] / "filler").open("wb") as file:
            for _ in range(_MOST_MIB // 8):
                file.write(os.urandom(8 << 20))
                file.flush()
                time.sleep(0.1)
    except OSError as error:
        print(f"cannot write: {error}", flush=True)
        sys.exit(1)
    time.sleep(600)


def out_of_memory(_config: dict[str, Any]) -> None:
    """Takes memory until the kernel says no."""
    held = [b"\1" * (16 << 20) for _ in range(_MOST_MIB // 16)]
    print(f"held {len(held)} blocks", flush=True)
    time.sleep(600)


def no_result(_config: dict[str, Any]) -> None:
    """Ends as if all were well."""
    sys.exit(0)


def missing_file(_config: dict[str, Any]) -> None:
    """Names a file that is not there."""
    stage = {"stage_name": "epoch_1", "files": ["weights.json"], "timestamp": 1, "mAP": 0.1}
    result = {"best_stage_name": "epoch_1", "model_stages": {"epoch_1": stage}}
    OUT["training_result_file"].write_text(yaml.safe_dump(result), encoding="utf-8")
    sys.exit(0)


def silent(_config: dict[str, Any]) -> None:
    """Ends with a code and says nothing."""
    sys.exit(7)


FAULTS: dict[str, Callable[[dict[str, Any]], None]] = {
    one.__name__: one for one in (hang, garbage, half_monitor, fill_out, out_of_memory, no_result, missing_file, silent)
}


def main() -> int:
    """Does what env.yaml asks for; mining before inference."""
    # The first process of a container hears no signal that it has not asked for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tell(0.0)
    try:
        try:
            config = yaml.safe_load(Path(ENV["input"]["config_file"]).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise Trouble(300001, f"config.yaml is no YAML: {str(error).splitlines()[0]}") from error
        crash(int(config["crash"]))
        FAULTS.get(config["fault"], lambda _config: None)(config)
        for wanted, work in (("run_training", train), ("run_mining", mine), ("run_infer", infer)):
            if ENV[wanted]:
                work(config)
    except Trouble as error:
        tell(0.1, 4, error.code, error)
        print(f"error: {error}", flush=True)
        return 1
    tell(1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
