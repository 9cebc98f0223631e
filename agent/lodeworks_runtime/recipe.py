"""What a network expects of a picture and what its answer means, as the package or the ONNX file tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lodeworks_runtime.errors import ModelError
from lodeworks_runtime.letterbox import FITS, Letterbox, letterbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

CANDIDATES = 2000
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Which of a network's boxes are answered.

    `candidates` boxes of the highest score enter the suppression; `max_detections` of its survivors are answered.
    """

    score: float = 0.25
    nms_iou: float = 0.6
    max_detections: int = 300
    candidates: int = CANDIDATES

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ModelError(f"score is {self.score}: give a number from 0 to 1")
        if not 0.0 < self.nms_iou <= 1.0:
            raise ModelError(f"nms_iou is {self.nms_iou}: give a number over 0, up to 1")
        if self.max_detections < 1 or self.candidates < 1:
            raise ModelError("max_detections and candidates must be at least 1")


@dataclass(frozen=True, slots=True)
class Recipe:
    """From a picture to the network's input, and the name of the decoder of its output.

    The input is float32 [1, 3, height, width], channels in the order of `colour`, (value · scale − mean) / std.
    """

    height: int
    width: int
    classes: tuple[str, ...]
    pad: int = 114
    fit: str = "centre"
    colour: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    decoder: str = "lodeworks"
    strides: tuple[int, ...] = ()
    input_name: str = "images"
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ModelError(f"input_size is [{self.height}, {self.width}]: both must be at least 1")
        if self.colour not in {"rgb", "bgr"}:
            raise ModelError(f"colour is {self.colour!r}: 'rgb' and 'bgr' are known")
        if not all(value > 0 for value in self.std):
            raise ModelError(f"std is {list(self.std)}: every value must be over 0")
        if self.fit not in FITS:
            raise ModelError(f"letterbox.fit is {self.fit!r}: there are {', '.join(FITS)}")
        if not 0 <= self.pad <= 255:  # noqa: PLR2004 - the range of a byte
            raise ModelError(f"letterbox.pad is {self.pad}: give a value from 0 to 255")

    @classmethod
    def from_model_info(cls, info: Mapping[str, Any]) -> Recipe:
        """Reads the `model_info` of an ONNX file; raises ModelError that names the wrong key."""
        reader = _InfoReader(info)
        height, width = reader.size()
        box = info.get("letterbox") or {}
        return cls(
            height=height,
            width=width,
            classes=reader.classes(),
            pad=int(box.get("pad", 114)),
            fit=str(box.get("fit", "centre")),
            scale=reader.number("scale", default=1 / 255),
            colour=str(info.get("colour", "rgb")).lower(),
            mean=reader.triple("mean", default=0.0),
            std=reader.triple("std", default=1.0),
            decoder=str(info.get("decoder", "lodeworks")),
            strides=tuple(int(stride) for stride in info.get("strides") or ()),
            input_name=str(info.get("input_name", "images")),
            thresholds=Thresholds(
                score=reader.number("score_threshold", default=0.25),
                nms_iou=reader.number("nms_iou", default=0.6),
                max_detections=int(reader.number("max_detections", default=300)),
            ),
        )


class Preparer:
    """Makes network inputs of pictures in buffers that it keeps: one input is valid until the next one is made."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._canvas = np.empty((recipe.height, recipe.width, _CHANNELS), dtype=np.uint8)
        self._blob = np.empty((1, _CHANNELS, recipe.height, recipe.width), dtype=np.float32)
        order = (2, 1, 0) if recipe.colour == "rgb" else (0, 1, 2)
        # (value · scale − mean) / std as one multiplication and one addition a pixel.
        self._channels = tuple(
            (
                source,
                np.float32(recipe.scale / recipe.std[target]),
                np.float32(-recipe.mean[target] / recipe.std[target]),
            )
            for target, source in enumerate(order)
        )

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Letterbox]:
        """Returns float32 [1, 3, height, width], valid until the next call, and where the picture lies in it."""
        recipe = self._recipe
        canvas, placement = letterbox(
            _three_channels(image), size=(recipe.height, recipe.width), pad=recipe.pad, fit=recipe.fit, out=self._canvas
        )
        planes = cv2.split(canvas)
        for target, (source, factor, shift) in enumerate(self._channels):
            plane = self._blob[0, target]
            np.multiply(planes[source], factor, out=plane)
            if shift:
                np.add(plane, shift, out=plane)
        return self._blob, placement


def _three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim == _CHANNELS and image.shape[2] == _CHANNELS and image.dtype == np.uint8 and image.size:
        return image
    raise ModelError(f"a picture must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")


class _InfoReader:
    """Typed reads of a `model_info` mapping with errors that name the key."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._info = info

    def size(self) -> tuple[int, int]:
        value = self._info.get("input_size")
        if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(v, int) for v in value):  # noqa: PLR2004
            raise ModelError(f"model_info.input_size is {value!r}: give [height, width]")
        return value[0], value[1]

    def classes(self) -> tuple[str, ...]:
        value = self._info.get("classes")
        if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) for v in value):
            raise ModelError(f"model_info.classes is {value!r}: give the names of the classes in the network's order")
        return tuple(value)

    def number(self, key: str, *, default: float) -> float:
        value = self._info.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelError(f"model_info.{key} is {value!r}: give a number")
        return value

    def triple(self, key: str, *, default: float) -> tuple[float, float, float]:
        value: Sequence[float] | None = self._info.get(key)
        if value is None:
            return (default, default, default)
        if len(value) != _CHANNELS:
            raise ModelError(f"model_info.{key} is {value!r}: give one number a channel")
        return float(value[0]), float(value[1]), float(value[2])
