"""A program of one's own: learns the outlines of the pictures it is shown and answers every picture with the first.

With the argument `fixed` it knows no other folders than /in and /out, as programs written for containers.
"""

import json
import sys
from pathlib import Path

from lodeworks_executor import BadDatasetError, Box, Task, run_program


def program(task: Task) -> None:
    if task.run_training:
        found = [box for sample in task.train() for box in sample.boxes if box.shape is not None]
        if not found:
            raise BadDatasetError("no picture has an outline; import a dataset with masks")
        first = {"class_name": found[0].class_name, "shape": json.loads(found[0].shape), "count": len(found)}
        (task.stage_folder("last") / "outline.json").write_text(json.dumps(first))
        task.stage("last", ["outline.json"], maskAP=0.75)
        task.finish_training()
        return
    model = json.loads(task.models()[0].read_text())
    box = Box(model["class_name"], 10.0, 20.0, 30.0, 40.0, score=0.5, shape=json.dumps(model["shape"]))
    task.write_inference({sample.asset_path: [box] for sample in task.candidates()})


if __name__ == "__main__":
    sys.exit(run_program(program, env_file=Path("/in/env.yaml") if sys.argv[1:] == ["fixed"] else None))
