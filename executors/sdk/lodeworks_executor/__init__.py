"""The typed /in and /out of an executor.

    import sys
    from lodeworks_executor import Task, run_program

    def program(task: Task) -> None:
        epochs = task.settings.integer("epochs", default=20, minimum=1)
        pictures = [(sample.asset_path, sample.boxes) for sample in task.train()]
        for epoch in range(1, epochs + 1):
            ...                                                 # train
            task.metric(epoch, "train/loss", loss)
            task.progress(epoch / epochs)
            (task.stage_folder(f"epoch_{epoch}") / "model.onnx").write_bytes(model)
            task.stage(f"epoch_{epoch}", ["model.onnx"], map_score=map_score)
        task.finish_training()

    sys.exit(run_program(program))

`python -m lodeworks_executor new FOLDER` (or `lode executor new FOLDER`) writes a whole executor to begin with.
"""

from lodeworks_formats.boxes import Box, iou

from lodeworks_executor.errors import (
    BadDatasetError,
    BadModelError,
    BadSettingError,
    ErrorCode,
    ExecutorError,
    StopRequestedError,
)
from lodeworks_executor.program import run_program
from lodeworks_executor.samples import Sample
from lodeworks_executor.settings import Settings
from lodeworks_executor.task import ObjectType, Task

__all__ = [
    "BadDatasetError",
    "BadModelError",
    "BadSettingError",
    "Box",
    "ErrorCode",
    "ExecutorError",
    "ObjectType",
    "Sample",
    "Settings",
    "StopRequestedError",
    "Task",
    "iou",
    "run_program",
]
