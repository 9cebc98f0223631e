"""Weights on disk, without pickles: a model's .pt, and the state of a training."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lodeworks_executor import BadModelError

from lodeworks_detector.network import Detector, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

_KIND = "lodeworks_detector"
_CLASS_ROWS = ("class_out.weight", "class_out.bias")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model as it lies on disk."""

    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    shape: Shape
    state: dict[str, Tensor]


def save_model(path: Path, model: Detector, *, class_names: Sequence[str], input_size: tuple[int, int]) -> None:
    """Writes a model; it is read back with weights_only, so that no code can hide in it."""
    torch.save(
        {
            "kind": _KIND,
            "version": 1,
            "class_names": list(class_names),
            "input_size": list(input_size),
            "width": model.shape.width,
            "depth": model.shape.depth,
            "state": {name: value.cpu().contiguous() for name, value in model.state_dict().items()},
        },
        path,
    )


def load_model(path: Path) -> SavedModel:
    """Reads a model that this package wrote.

    Raises:
        BadModelError: the file is missing, no model, another program's model, or one that wants to run code.
    """
    document = load_document(path)
    if document.get("kind") != _KIND:
        raise BadModelError(f"{path.name} is no model of the Lodeworks detector; train from scratch or give its .pt")
    try:
        return SavedModel(
            tuple(str(name) for name in document["class_names"]),
            (int(document["input_size"][0]), int(document["input_size"][1])),
            Shape(width=float(document["width"]), depth=float(document["depth"])),
            dict(document["state"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadModelError(f"{path.name} is incomplete: {error}") from error


def load_document(path: Path) -> dict[str, Any]:
    """Reads a mapping of tensors and plain values; never runs code from the file.

    Raises:
        BadModelError: the file cannot be read so.
    """
    try:
        with warnings.catch_warnings():
            # A foreign file earns its refusal below, not a warning of torch as well.
            warnings.simplefilter("ignore")
            document = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise BadModelError(f"cannot read {path.name} as weights: {error}") from error
    if not isinstance(document, dict):
        raise BadModelError(f"{path.name} holds no weights of this detector")
    return document


def find_weights(models: Sequence[Path]) -> Path:
    """Returns the .pt among the files of a model.

    Raises:
        BadModelError: there is none.
    """
    for path in models:
        if path.suffix == ".pt":
            return path
    names = ", ".join(path.name for path in models)
    raise BadModelError(f"training on needs the .pt of a model of this detector; there is only {names}")


def continue_from(model: Detector, saved: SavedModel, *, class_names: Sequence[str]) -> list[str]:
    """Loads the weights of another model; returns the classes that it knew already.

    Rows of classes that both have are taken over by name (case does not matter), new classes start fresh.
    """
    known = {name.casefold(): row for row, name in enumerate(saved.class_names)}
    pairs = [(row, known[name.casefold()]) for row, name in enumerate(class_names) if name.casefold() in known]
    state = model.state_dict()
    for name, value in state.items():
        other = saved.state.get(name)
        if other is None:
            raise BadModelError(f"the pre-trained model lacks the weights {name}")
        if name.endswith(_CLASS_ROWS):
            for row, other_row in pairs:
                value[row] = other[other_row]
        elif other.shape == value.shape:
            value.copy_(other)
        else:
            raise BadModelError(f"the pre-trained model has {name} of shape {list(other.shape)}")
    model.load_state_dict(state)
    return [class_names[row] for row, _ in pairs]
