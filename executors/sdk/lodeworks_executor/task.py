"""The run of an executor, as its author sees it."""

from __future__ import annotations

import json
import time
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeworks_executor import results
from lodeworks_executor.annotations import annotation_reader
from lodeworks_executor.checkpoint import Checkpoint
from lodeworks_executor.environment import Environment, env_file_path, read_environment, read_settings
from lodeworks_executor.errors import BadSettingError, ErrorCode, ExecutorError
from lodeworks_executor.monitor import MetricLog, Monitor
from lodeworks_executor.samples import Sample, picture_size_px, read_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lodeworks_formats.boxes import Box

    from lodeworks_executor.settings import Settings

_LODE = "lode"


class ObjectType(IntEnum):
    """What is looked for, in the numbers of the protocol."""

    DETECTION = 2
    SEMANTIC = 3
    INSTANCE = 4


class Task:
    """One run: what to do, with which settings and pictures, and where the results go."""

    def __init__(self, environment: Environment, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.environment = environment
        self.settings = settings
        self.checkpoint = Checkpoint(
            inputs=environment.inputs.root / _LODE / "checkpoint",
            outputs=environment.outputs.root / _LODE / "checkpoint",
        )
        self._monitor = Monitor(environment.outputs.monitor, task_id=self.id, clock=clock)
        self._metrics = MetricLog(environment.outputs.root / _LODE / "metrics.jsonl", clock=clock)
        self._training = results.TrainingResult(
            environment.outputs.training_result, models_folder=environment.outputs.models, clock=clock
        )

    @classmethod
    def load(cls, env_file: Path | None = None, *, clock: Callable[[], float] = time.time) -> Task:
        """Returns the run that env.yaml describes: the given file, else LODE_ENV_FILE, else /in/env.yaml.

        Raises:
            ExecutorError: a file of the run is missing or unreadable (code CONFIG).
        """
        environment = read_environment(env_file or env_file_path())
        return cls(environment, read_settings(environment.inputs.config), clock=clock)

    @property
    def id(self) -> str:
        """The id of the task."""
        return self.environment.task_id

    @property
    def run_training(self) -> bool:
        """Whether to train."""
        return self.environment.run_training

    @property
    def run_mining(self) -> bool:
        """Whether to mine; before inference if both are asked for."""
        return self.environment.run_mining

    @property
    def run_infer(self) -> bool:
        """Whether to infer."""
        return self.environment.run_infer

    @property
    def resume(self) -> bool:
        """Whether an earlier attempt's checkpoint may be taken up."""
        return self.settings.flag("resume", default=False)

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of the request; an annotation of any other class is left out.

        Raises:
            BadSettingError: no class, or one named twice.
        """
        names = self.settings.texts("class_names", default=[])
        if not names:
            raise BadSettingError("class_names", "is empty; name at least one class")
        folded = [name.casefold() for name in names]
        for name in names:
            if folded.count(name.casefold()) > 1:
                raise BadSettingError("class_names", f"names {name!r} twice (case does not matter)")
        return names

    @property
    def object_type(self) -> ObjectType:
        """What the project's objects are: boxes, semantic masks or instance masks."""
        try:
            return ObjectType(self.settings.integer("object_type", default=ObjectType.DETECTION))
        except ValueError as error:
            message = f"must be one of {', '.join(str(int(one)) for one in ObjectType)}"
            raise BadSettingError("object_type", message) from error

    @property
    def gpu_ids(self) -> list[int]:
        """The GPUs given to this run, numbered as this run sees them; empty means CPU."""
        return self.settings.integers("gpu_id", default=[], minimum=0)

    def train(self) -> Iterator[Sample]:
        """Yields the pictures to train on."""
        return self._samples(self.environment.inputs.training_index)

    def val(self) -> Iterator[Sample]:
        """Yields the pictures to validate on."""
        return self._samples(self.environment.inputs.val_index)

    def candidates(self) -> Iterator[Sample]:
        """Yields the pictures to mine or to infer."""
        return self._samples(self.environment.inputs.candidate_index)

    def models(self) -> list[Path]:
        """Returns the files of the model given: the pre-trained one of a training, else the one to run."""
        key = "pretrained_model_params" if self.run_training else "model_params_path"
        return [Path(text) for text in self.settings.texts(key, default=[])]

    def role(self, name: str) -> Path:
        """Returns an input of a built-in executor by its role; a folder where several share the role.

        Raises:
            ExecutorError: the input is not there (code DATASET).
        """
        path = self.environment.inputs.root / _LODE / name
        if not path.exists():
            raise ExecutorError(f"there is no input {name!r} for this run", code=ErrorCode.DATASET)
        return path

    def has_role(self, name: str) -> bool:
        """Returns whether the run was given an input of that role."""
        return (self.environment.inputs.root / _LODE / name).exists()

    def options(self) -> dict[str, Any]:
        """Returns the structured options of a built-in executor: the JSON input `options`, else nothing."""
        if not self.has_role("options"):
            return {}
        try:
            options = json.loads(self.role("options").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ExecutorError(f"the options are not JSON: {error}", code=ErrorCode.CONFIG) from error
        if not isinstance(options, dict):
            raise ExecutorError("the options must be a JSON object", code=ErrorCode.CONFIG)
        return options

    def output(self, role: str) -> Path:
        """Returns where an output of a built-in executor goes; its parent folder is there."""
        path = self.environment.outputs.root / _LODE / role
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def progress(self, fraction: float, message: str = "") -> None:
        """Tells how much of the run is done, 0 to 1, and what is going on."""
        self._monitor.progress(fraction, message)

    def finish(self) -> None:
        """Completes the progress of a run that did not fail; `run_program` does it after the program."""
        self._monitor.finish()

    def metric(self, step: int, name: str, value: float) -> None:
        """Tells the value of a metric at a step; the platform keeps and draws the series."""
        self._metrics.write(step, name, value)

    def stage_folder(self, name: str) -> Path:
        """Returns the folder that the files of a stage are written into."""
        return self._training.folder(name)

    def stage(
        self,
        name: str,
        files: Sequence[str | Path],
        *,
        map_score: float | None = None,
        best: str | None = None,
        **measures: float,
    ) -> None:
        """Adds a stage whose files lie in its folder; the result file is whole and readable from then on.

        Args:
            name: letters, digits and underscores.
            files: the files by base name or by path.
            map_score: mAP of the stage, 0 to 1; a segmentation gives mIoU or maskAP among the measures instead.
            best: the best stage as of now; else it is the one with the highest mAP, mIoU or maskAP.
            measures: mAR, tp, fp, fn and measures of the executor's own.
        """
        names = [Path(file).name for file in files]
        first = {} if map_score is None else {"mAP": map_score}
        self._training.add_stage(name, names, measures={**first, **measures}, best=best)

    def drop_stage(self, name: str) -> None:
        """Takes a stage off the result; remove its folder afterwards, not before."""
        self._training.drop_stage(name)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stages written so far."""
        return self._training.stage_names

    def describe_evaluation(self, *, iou: float, confidence: float) -> None:
        """Records at which thresholds the measures of the stages are taken."""
        self._training.describe_evaluation(iou=iou, confidence=confidence)

    def attachment(self, section: str, path: Path) -> Path:
        """Attaches a file to the trained model under a section; returns the copy that was made."""
        return self._training.attach(section, path)

    def finish_training(self, *, best: str | None = None) -> None:
        """Ends a training: names the best stage (default: highest mAP) and completes the progress."""
        if best is not None:
            self._training.choose_best(best)
        self._monitor.progress(1.0)

    def write_mining(self, scores: Mapping[Path, float]) -> None:
        """Writes the mining result: a score for each picture, higher means more worth labelling."""
        results.write_mining(self.environment.outputs.mining_result, scores)

    def write_inference(self, predictions: Mapping[Path, Iterable[Box]]) -> None:
        """Writes the inference result: the boxes found in each picture, with their outlines where there are some."""
        target = self.environment.outputs.infer_result
        found = {path: list(boxes) for path, boxes in predictions.items()}
        outlined = any(box.shape is not None for boxes in found.values() for box in boxes)
        if self.object_type is ObjectType.DETECTION and not outlined:
            results.write_inference(target, found)
            return
        sized = ((path, picture_size_px(path), boxes) for path, boxes in found.items())
        results.write_masks(target, sized, class_names=self.class_names)

    def fail(self, code: ErrorCode | None, message: str) -> None:
        """Tells why the run failed. The program should then end with a code other than 0."""
        self._monitor.fail(code, message)

    def _samples(self, index: Path | None) -> Iterator[Sample]:
        reader = annotation_reader(
            self.settings.text("export_format", default="voc:raw"),
            class_names=tuple(self.settings.texts("class_names", default=[])),
        )
        return read_index(index, reader=reader)
