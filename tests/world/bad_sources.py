"""Sources of imports that are wrong in one way each, and a right one beside them."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WIDTH, HEIGHT = 80, 64


def noise(seed: int, *, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Returns a PNG that packs badly."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def voc(class_name: str) -> str:
    """Returns an annotation with one box."""
    return (
        f"<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size><object>"
        f"<name>{class_name}</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
        "</object></annotation>"
    )


def archive(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """Writes a zip of files by name."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def labelled(path: Path, annotations: Mapping[str, str | None], *, seed: int = 0) -> Path:
    """Writes a zip of pictures with the text of their annotation files; None leaves the file out."""
    files: dict[str, bytes | str] = {}
    for number, (name, text) in enumerate(annotations.items()):
        files[f"images/{name}.png"] = noise(seed + number)
        if text is not None:
            files[f"gt/{name}.xml"] = text
    return archive(path, files)
