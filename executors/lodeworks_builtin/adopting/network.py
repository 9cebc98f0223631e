"""Gives an ONNX file the description that it lacks, and proves that it answers accordingly."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from lodeworks_executor.errors import BadModelError, BadSettingError
from lodeworks_runtime import AlgorithmError, load_onnx
from lodeworks_runtime.decoders import decoder_names

from lodeworks_builtin.adopting.exporter import told_by_exporter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lodeworks_formats.task_inputs import AdoptOptions

_KEY = "model_info"
_IMAGE_DIMENSIONS = 4
_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "yolov5": {"nms_iou": 0.45},
    "yolov8": {"nms_iou": 0.7},
    "yolox": {"letterbox": {"fit": "top-left"}, "colour": "bgr", "scale": 1.0, "nms_iou": 0.45},
    "detr": {
        "letterbox": {"fit": "stretch"},
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "nms_iou": 1.0,
        "max_detections": 100,
    },
    "detections": {"nms_iou": 1.0},
}
"""What the families' own programs do with a picture, where the options say nothing else."""


def describe(source: Path, target: Path, *, options: AdoptOptions) -> tuple[str, ...]:
    """Writes the network with its description to `target` and returns its classes.

    What the options leave out comes from the description that the file has, then from what its exporter wrote into it,
    then from the habits of its family.

    Raises:
        BadModelError: the file is no ONNX network of pictures, or its answer does not fit the description.
        BadSettingError: decoder, classes or input size are neither given nor in the file.
    """
    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:
        raise BadModelError(f"{source.name} is no ONNX file ({type(error).__name__})") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BadModelError(f"{source.name} keeps its weights in another file: save it as one file")
    own = _own_description(model)
    info = _described(model, own, options)
    if info == own:
        shutil.copyfile(source, target)
    else:
        kept = {prop.key: prop.value for prop in model.metadata_props if prop.key != _KEY}
        onnx.helper.set_model_props(model, {**kept, _KEY: json.dumps(info, sort_keys=True)})
        onnx.save(model, str(target))
    _prove(target)
    return tuple(info["classes"])


def _own_description(model: onnx.ModelProto) -> dict[str, Any]:
    text = next((prop.value for prop in model.metadata_props if prop.key == _KEY), "{}")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _described(model: onnx.ModelProto, own: Mapping[str, Any], options: AdoptOptions) -> dict[str, Any]:
    told = told_by_exporter(model)
    decoder = options.decoder or own.get("decoder", "") or told.get("decoder", "")
    if not decoder:
        raise BadSettingError(
            "decoder", f"is missing: the file does not say it; name one of {', '.join(decoder_names())}"
        )
    info: dict[str, Any] = {**_FAMILIES.get(decoder, {}), **told, **own, **_given(options), "decoder": decoder}
    info["letterbox"] = {
        **_FAMILIES.get(decoder, {}).get("letterbox", {}),
        **own.get("letterbox", {}),
        **{key: value for key, value in (("fit", options.fit), ("pad", options.pad)) if value not in ("", None)},
    }
    if not info.get("classes"):
        raise BadSettingError(
            "class_names", "are missing: the file does not name them; name them in the network's order"
        )
    info["input_size"] = list(_input_size(model, own, options))
    return info


def _given(options: AdoptOptions) -> dict[str, Any]:
    """Returns what the options say, in the words of a description."""
    said = {
        "classes": list(options.class_names),
        "colour": options.colour,
        "scale": options.scale,
        "mean": list(options.mean),
        "std": list(options.std),
        "strides": list(options.strides),
        "score_threshold": options.score_threshold,
        "nms_iou": options.nms_iou,
        "max_detections": options.max_detections,
    }
    return {key: value for key, value in said.items() if value not in ("", None, [])}


def _input_size(model: onnx.ModelProto, own: Mapping[str, Any], options: AdoptOptions) -> tuple[int, int]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    shape = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or len(shape) != _IMAGE_DIMENSIONS:
        names = ", ".join(value.name for value in inputs) or "none"
        raise BadModelError(f"the network's inputs are {names}: it must have one, of pictures [N, 3, H, W]")
    if options.input_size:
        height, _, width = options.input_size.lower().partition("x")
        if not (height.isdigit() and width.isdigit()):
            raise BadSettingError("input_size", f"wants HEIGHTxWIDTH, such as 640x640, not {options.input_size!r}")
        return int(height), int(width)
    if shape[2] > 0 and shape[3] > 0:
        return shape[2], shape[3]
    if own.get("input_size"):
        return tuple(own["input_size"])
    raise BadSettingError("input_size", "is missing: the network takes any; name HEIGHTxWIDTH, such as 640x640")


def _prove(path: Path) -> None:
    try:
        algorithm = load_onnx(path)
        recipe = algorithm.recipe
        outputs = algorithm.outputs([np.full((recipe.height, recipe.width, 3), 114, np.uint8)])
    except AlgorithmError as error:
        raise BadModelError(str(error)) from error
    outside = float(np.mean((outputs.scores < 0) | (outputs.scores > 1))) if outputs.scores.size else 0.0
    if outside > 0 or not np.isfinite(outputs.boxes).all():
        raise BadModelError(
            f"with decoder {recipe.decoder!r} {outside:.0%} of the scores are outside 0 to 1: is it the right one?"
        )
    print(f"{path.name}: {outputs.scores.shape[1]:,} places, classes {', '.join(recipe.classes)}")  # noqa: T201 - the log
