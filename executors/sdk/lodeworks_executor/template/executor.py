"""Answers where each class usually lies. Put your network in the place of `learn` and `answer`."""

import json
import sys
from statistics import fmean

from lodeworks_executor import Box, Sample, Task, iou, run_program


def learn(task: Task) -> dict[str, list[float]]:
    places: dict[str, list[tuple[float, ...]]] = {name: [] for name in task.class_names}
    for sample in task.train():
        width, height = sample.size_px
        for box in sample.boxes:
            places[box.class_name].append((box.x / width, box.y / height, box.w / width, box.h / height))
    return {name: [fmean(column) for column in zip(*found, strict=True)] for name, found in places.items() if found}


def answer(model: dict[str, list[float]], sample: Sample) -> list[Box]:
    width, height = sample.size_px
    return [Box(name, x * width, y * height, w * width, h * height, score=0.5) for name, (x, y, w, h) in model.items()]


def program(task: Task) -> None:
    model = learn(task) if task.run_training else json.loads(task.models()[0].read_text(encoding="utf-8"))
    if task.run_training:
        task.progress(0.5, "measuring")
        least = task.settings.number("iou", default=0.5, minimum=0.0, maximum=1.0)
        pairs = [(box, answer(model, sample)) for sample in task.val() for box in sample.boxes]
        met = sum(any(iou(box, one) >= least for one in found) for box, found in pairs) / max(1, len(pairs))
        (task.stage_folder("last") / "places.json").write_text(json.dumps(model), encoding="utf-8")
        task.stage("last", ["places.json"], map_score=met)
        task.finish_training()
    if task.run_mining:  # what compresses badly shows much
        task.write_mining({sample.asset_path: sample.asset_path.stat().st_size for sample in task.candidates()})
    if task.run_infer:
        task.write_inference({sample.asset_path: answer(model, sample) for sample in task.candidates()})


sys.exit(run_program(program))
