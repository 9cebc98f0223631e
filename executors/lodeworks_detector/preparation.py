"""What a training starts from: its pictures, its network, its input size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from lodeworks_executor import BadDatasetError

from lodeworks_detector.examples import Example, read_examples, read_picture
from lodeworks_detector.input_size import choose_input_size
from lodeworks_detector.network import Detector
from lodeworks_detector.weights import continue_from, find_weights, load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks_executor import Task

    from lodeworks_detector.configuration import Configuration

_MEASURED_PICTURES = 200
_HOLD_OUT_EVERY = 5


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
