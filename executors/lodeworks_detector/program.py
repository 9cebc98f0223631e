"""The training as an executor: from what a run asks for to its stages, in one process or several."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import torch
from lodeworks_executor import ErrorCode, ExecutorError

from lodeworks_detector.batches import TrainingBatches
from lodeworks_detector.configuration import Configuration, read_configuration
from lodeworks_detector.crew import Crew
from lodeworks_detector.devices import choose_device, choose_precision
from lodeworks_detector.examples import Example, PictureCache
from lodeworks_detector.export import OnnxWriter
from lodeworks_detector.learner import Learner, Plan
from lodeworks_detector.memory import keep_freed_memory
from lodeworks_detector.preparation import make_model, read_pictures
from lodeworks_detector.progress import Reporter
from lodeworks_detector.ranks import Rank
from lodeworks_detector.stages import Stages
from lodeworks_detector.training import Training, follow, resume
from lodeworks_detector.validation import THRESHOLDS, Validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks_executor import Task

    from lodeworks_detector.network import Detector

_LEARNING_RATE = 3e-3
_FINE_TUNING_RATE = 1e-3
_MOSAIC_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a training starts from, the same in each of its processes."""

    configuration: Configuration
    training: Sequence[Example]
    validation: Sequence[Example]
    model: Detector
    input_size: tuple[int, int]
    epochs: int


def train(task: Task) -> None:
    """Trains the detector as the settings of the run say."""
    prepared = _prepare(task)
    count = prepared.configuration.processes_for(gpus=len(task.gpu_ids), pictures=len(prepared.training))
    rank = Rank(0, count, choose_device(task.gpu_ids))
    _set_up_torch(prepared.configuration, rank=rank)
    reporter = Reporter(task, epochs=prepared.epochs, clock=time.monotonic)
    _announce(task, prepared, rank=rank, reporter=reporter)
    with Crew(task, _train_along, count=count) as crew:
        learner, plan = _learner(task, prepared, rank=rank, meeting=crew.meeting)
        run = Training(
            learner,
            plan=plan,
            validation=_validation(task, prepared),
            stages=Stages(
                task,
                writer=OnnxWriter(class_names=task.class_names, input_size=prepared.input_size),
                class_names=task.class_names,
                input_size=prepared.input_size,
                keep=prepared.configuration.keep_stages,
            ),
            reporter=reporter,
        )
        task.describe_evaluation(iou=0.5, confidence=THRESHOLDS.score)
        _run(task, run, reporter)
    rank.leave()


def _train_along(task: Task, index: int, count: int, meeting: Path) -> None:
    """Trains in a process that is not the first."""
    rank = Rank(index, count, choose_device(task.gpu_ids, index=index))
    prepared = _prepare(task)
    _set_up_torch(prepared.configuration, rank=rank)
    learner, plan = _learner(task, prepared, rank=rank, meeting=meeting)
    if task.resume:
        resume(learner, task)
    follow(learner, plan=plan)
    rank.leave()


def _prepare(task: Task) -> _Prepared:
    configuration = read_configuration(task.settings)
    class_names = task.class_names
    training, validation = read_pictures(task, class_names=class_names)
    model, input_size = make_model(task, configuration, training=training, class_names=class_names)
    epochs = configuration.epochs_for(len(training))
    return _Prepared(configuration, training, validation, model, input_size, epochs)


def _announce(task: Task, prepared: _Prepared, *, rank: Rank, reporter: Reporter) -> None:
    configuration = prepared.configuration
    wanted = configuration.processes or len(task.gpu_ids) or 1
    if rank.count < wanted:
        reporter.say(f"uses {rank.count} of {wanted} processes: each wants two pictures of a batch; raise batch_size")
    precision = choose_precision(configuration.precision, device=rank.device)
    where = str(rank.device) if rank.count == 1 else f"{rank.count} processes on {rank.device.type}"
    height, width = prepared.input_size
    reporter.say(
        f"training on {len(prepared.training)} pictures, validating on {len(prepared.validation)}; "
        f"input {height}x{width}, {prepared.epochs} epochs, {where}, "
        f"{str(precision).removeprefix('torch.')}, seed {configuration.seed}"
    )


def _learner(task: Task, prepared: _Prepared, *, rank: Rank, meeting: Path) -> tuple[Learner, Plan]:
    """Returns what learns and how; with several processes it waits until all are there."""
    configuration = prepared.configuration
    plan = Plan(
        epochs=prepared.epochs,
        patience=configuration.patience_for(prepared.epochs),
        learning_rate=configuration.learning_rate or (_FINE_TUNING_RATE if task.models() else _LEARNING_RATE),
        checkpoint_interval_s=configuration.checkpoint_interval_s,
        rank=rank,
        precision=choose_precision(configuration.precision, device=rank.device),
    )
    batches = TrainingBatches(
        prepared.training,
        cache=PictureCache(size=prepared.input_size, budget_bytes=configuration.cache_bytes // rank.count),
        size=prepared.input_size,
        batch_size=configuration.batch_size,
        how=configuration.augmentation,
        seed=configuration.seed,
        mosaic_epochs=round(_MOSAIC_SHARE * prepared.epochs),
        rank=(rank.index, rank.count),
    )
    if rank.count > 1:
        rank.join(meeting)
    return Learner(prepared.model, plan=plan, batches=batches), plan


def _validation(task: Task, prepared: _Prepared) -> Validation:
    return Validation(
        prepared.validation,
        class_names=task.class_names,
        size=prepared.input_size,
        batch_size=prepared.configuration.batch_size,
        budget_bytes=prepared.configuration.cache_bytes // 4,
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


def _set_up_torch(configuration: Configuration, *, rank: Rank) -> None:
    keep_freed_memory()
    cores = max(1, len(os.sched_getaffinity(0)) // rank.count)
    torch.set_num_threads(configuration.threads_for(cores))
    torch.backends.cudnn.benchmark = False
    if rank.device.type == "cuda":
        # On a CPU all that is used here is deterministic already, and asking for it imports a compiler.
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    cv2.setNumThreads(1)
