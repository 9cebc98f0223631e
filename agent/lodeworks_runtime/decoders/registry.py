"""Decoders by the name that a model's description gives."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from lodeworks_runtime.decoders.detections import DetectionsDecoder
from lodeworks_runtime.decoders.detr import DetrDecoder
from lodeworks_runtime.decoders.lodeworks import LodeworksDecoder
from lodeworks_runtime.decoders.yolov5 import YoloV5Decoder
from lodeworks_runtime.decoders.yolov8 import YoloV8Decoder
from lodeworks_runtime.decoders.yolox import YoloXDecoder
from lodeworks_runtime.errors import ModelError

if TYPE_CHECKING:
    from lodeworks_runtime.decoders.base import Decoder

GROUP = "lodeworks.decoders"


def find_decoder(name: str) -> Decoder:
    """Returns the decoder of that name: one of ours, or one that an installed package offers as an entry point."""
    for decoder in _built_in():
        if decoder.name == name:
            return decoder
    for entry in entry_points(group=GROUP, name=name):
        offered: Decoder = entry.load()()
        return offered
    raise ModelError(f"decoder {name!r} is not known: there are {', '.join(decoder_names())}")


def decoder_names() -> list[str]:
    """Returns the names of all decoders, sorted."""
    return sorted({decoder.name for decoder in _built_in()} | {entry.name for entry in entry_points(group=GROUP)})


def _built_in() -> tuple[Decoder, ...]:
    return (LodeworksDecoder(), YoloV5Decoder(), YoloV8Decoder(), YoloXDecoder(), DetrDecoder(), DetectionsDecoder())
