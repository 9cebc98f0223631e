"""The detector as an executor: trains, mines, infers."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from lodeworks_executor import BadDatasetError, ErrorCode, ExecutorError

from lodeworks_detector.batches import TrainingBatches
from lodeworks_detector.configuration import Configuration, read_configuration
from lodeworks_detector.devices import choose_device, choose_precision
from lodeworks_detector.examples import Example, PictureCache, read_examples, read_picture
from lodeworks_detector.export import OnnxWriter
from lodeworks_detector.input_size import choose_input_size
from lodeworks_detector.memory import keep_freed_memory
from lodeworks_detector.network import Detector
from lodeworks_detector.progress import Reporter
from lodeworks_detector.stages import Stages
from lodeworks_detector.training import Plan, Training
from lodeworks_detector.validation import THRESHOLDS, Validation
from lodeworks_detector.weights import continue_from, find_weights, load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks_executor import Task

_LEARNING_RATE = 3e-3
_FINE_TUNING_RATE = 1e-3
_MEASURED_PICTURES = 200
_HOLD_OUT_EVERY = 5


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
    default_rate = _FINE_TUNING_RATE if task.models() else _LEARNING_RATE
    plan = Plan(
        epochs=epochs,
        patience=configuration.patience_for(epochs),
        learning_rate=configuration.learning_rate or default_rate,
        checkpoint_interval_s=configuration.checkpoint_interval_s,
        device=device,
        precision=choose_precision(configuration.precision, device=device),
    )
    reporter.say(
        f"training on {len(training)} pictures, validating on {len(validation)}; "
        f"input {input_size[0]}x{input_size[1]}, {epochs} epochs, {device}, "
        f"{str(plan.precision).removeprefix('torch.')}, seed {configuration.seed}"
    )
    run = Training(
        model,
        plan=plan,
        batches=TrainingBatches(
            training,
            cache=PictureCache(size=input_size, budget_bytes=configuration.cache_bytes),
            size=input_size,
            batch_size=configuration.batch_size,
            how=configuration.augmentation,
            seed=configuration.seed,
        ),
        validation=Validation(
            validation,
            class_names=class_names,
            size=input_size,
            batch_size=configuration.batch_size,
            budget_bytes=configuration.cache_bytes // 4,
        ),
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


def read_pictures(task: Task, *, class_names: Sequence[str]) -> tuple[list[Example], list[Example]]:
    """Returns the pictures to train and to validate on.

    Raises:
        BadDatasetError: there are none, or a class is in none of those to train on.
    """
    training = read_examples(task.train(), class_names=class_names)
    if not training:
        raise BadDatasetError("there are no pictures to train on")
    validation = read_examples(task.val(), class_names=class_names)
    if not validation:
        validation = training[::_HOLD_OUT_EVERY]
        training = [example for index, example in enumerate(training) if index % _HOLD_OUT_EVERY] or training
    present = np.concatenate([example.classes for example in training])
    if not len(present):
        raise BadDatasetError(f"no training picture has a box of {', '.join(class_names)}; annotate some first")
    for position, name in enumerate(class_names):
        if position not in present:
            raise BadDatasetError(f"no training picture has a box of {name!r}; add some or leave the class out")
    return training, validation


def make_model(
    task: Task, configuration: Configuration, *, training: Sequence[Example], class_names: Sequence[str]
) -> tuple[Detector, tuple[int, int]]:
    """Returns a network, fresh or with the weights of the pre-trained one, and its input size (height, width)."""
    saved = load_model(find_weights(task.models())) if task.models() else None
    torch.manual_seed(configuration.seed)
    model = Detector(classes=len(class_names), shape=saved.shape if saved else configuration.shape)
    if saved is not None:
        kept = continue_from(model, saved, class_names=class_names)
        print(f"continues a model that knows {', '.join(kept) or 'none of the classes'}", flush=True)  # noqa: T201
    if configuration.input_size is not None:
        return model, configuration.input_size
    if saved is not None:
        return model, saved.input_size
    step = max(1, len(training) // _MEASURED_PICTURES)
    measured = training[::step]
    shapes = [read_picture(example.path).shape[:2] for example in measured]
    return model, choose_input_size(shapes, [example.boxes for example in measured])


def _set_up_torch(configuration: Configuration, *, device: torch.device) -> None:
    keep_freed_memory()
    torch.set_num_threads(configuration.threads_for(len(os.sched_getaffinity(0))))
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        # On a CPU all that is used here is deterministic already, and asking for it imports a compiler.
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    cv2.setNumThreads(1)
