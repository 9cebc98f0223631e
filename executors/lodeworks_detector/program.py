"""The detector as an executor: trains, mines, infers."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import torch
from lodeworks_executor import ErrorCode, ExecutorError

from lodeworks_detector.batches import TrainingBatches
from lodeworks_detector.configuration import Configuration, read_configuration
from lodeworks_detector.devices import choose_device, choose_precision
from lodeworks_detector.examples import Example, PictureCache
from lodeworks_detector.export import OnnxWriter
from lodeworks_detector.memory import keep_freed_memory
from lodeworks_detector.preparation import make_model, read_pictures
from lodeworks_detector.progress import Reporter
from lodeworks_detector.stages import Stages
from lodeworks_detector.training import Plan, Training
from lodeworks_detector.validation import THRESHOLDS, Validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks_executor import Task

_LEARNING_RATE = 3e-3
_FINE_TUNING_RATE = 1e-3


def train(task: Task) -> None:
    """Trains the detector as the settings of the run say."""
    configuration = read_configuration(task.settings)
    class_names = task.class_names
    training, validation = read_pictures(task, class_names=class_names)
    device = choose_device(task.gpu_ids)
    _set_up_torch(configuration, device=device)
    model, input_size = make_model(task, configuration, training=training, class_names=class_names)
    epochs = configuration.epochs_for(len(training))
    reporter = Reporter(task, epochs=epochs, clock=time.monotonic)
    plan = _plan(configuration, epochs=epochs, device=device, continues=bool(task.models()))
    if len(task.gpu_ids) > 1:
        reporter.say(f"uses one GPU of the {len(task.gpu_ids)} given: it trains on one device")
    reporter.say(
        f"training on {len(training)} pictures, validating on {len(validation)}; "
        f"input {input_size[0]}x{input_size[1]}, {epochs} epochs, {device}, "
        f"{str(plan.precision).removeprefix('torch.')}, seed {configuration.seed}"
    )
    run = Training(
        model,
        plan=plan,
        batches=_batches(training, configuration=configuration, input_size=input_size),
        validation=_validation(validation, task=task, configuration=configuration, input_size=input_size),
        stages=Stages(
            task,
            writer=OnnxWriter(class_names=class_names, input_size=input_size),
            class_names=class_names,
            input_size=input_size,
            keep=configuration.keep_stages,
        ),
        reporter=reporter,
    )
    task.describe_evaluation(iou=0.5, confidence=THRESHOLDS.score)
    _run(task, run, reporter)


def _plan(configuration: Configuration, *, epochs: int, device: torch.device, continues: bool) -> Plan:
    return Plan(
        epochs=epochs,
        patience=configuration.patience_for(epochs),
        learning_rate=configuration.learning_rate or (_FINE_TUNING_RATE if continues else _LEARNING_RATE),
        checkpoint_interval_s=configuration.checkpoint_interval_s,
        device=device,
        precision=choose_precision(configuration.precision, device=device),
    )


def _batches(
    examples: Sequence[Example], *, configuration: Configuration, input_size: tuple[int, int]
) -> TrainingBatches:
    return TrainingBatches(
        examples,
        cache=PictureCache(size=input_size, budget_bytes=configuration.cache_bytes),
        size=input_size,
        batch_size=configuration.batch_size,
        how=configuration.augmentation,
        seed=configuration.seed,
    )


def _validation(
    examples: Sequence[Example], *, task: Task, configuration: Configuration, input_size: tuple[int, int]
) -> Validation:
    return Validation(
        examples,
        class_names=task.class_names,
        size=input_size,
        batch_size=configuration.batch_size,
        budget_bytes=configuration.cache_bytes // 4,
    )


def _run(task: Task, run: Training, reporter: Reporter) -> None:
    try:
        if task.resume:
            run.resume(task)
        scores = run.run(task, clock=time.monotonic)
        with tempfile.TemporaryDirectory() as scratch:
            reporter.alarm(scores.classes_at_zero, scratch=Path(scratch))
    except torch.OutOfMemoryError as error:
        raise ExecutorError(
            "the GPU's memory is full; a smaller batch_size or input_size helps", code=ErrorCode.OUT_OF_MEMORY
        ) from error
    finally:
        reporter.close()
    task.finish_training()


def _set_up_torch(configuration: Configuration, *, device: torch.device) -> None:
    keep_freed_memory()
    torch.set_num_threads(configuration.threads_for(len(os.sched_getaffinity(0))))
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        # On a CPU all that is used here is deterministic already, and asking for it imports a compiler.
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    cv2.setNumThreads(1)
