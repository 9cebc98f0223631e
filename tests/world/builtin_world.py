"""The folders of a built-in executor's run, filled with made pictures and the made network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from lodeworks_executor import Task
from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import write_pictures
from made_network import CLASSES, SIZE, encoded, made_picture

if TYPE_CHECKING:
    from pathlib import Path


class BuiltinWorld:
    """One run: `given` is /in, `left` is /out."""

    def __init__(self, root: Path) -> None:
        self.given, self.left = root / "in", root / "out"
        (self.given / "lode").mkdir(parents=True)
        (self.left / "lode").mkdir(parents=True)
        (self.given / "config.yaml").write_text("{}\n")
        places = {"task_id": "t1", "input": {"root_dir": str(self.given)}, "output": {"root_dir": str(self.left)}}
        (self.given / "env.yaml").write_text(yaml.safe_dump(places))

    def task(self) -> Task:
        return Task.load(self.given / "env.yaml")

    def put(self, role: str, data: bytes) -> Path:
        path = self.given / "lode" / role
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def output(self, role: str) -> Path:
        return self.left / "lode" / role

    def view(self, role: str, seeds, *, annotated: bool = True) -> list[Picture]:
        """Writes a view of made pictures and the pictures themselves."""
        pictures = []
        for seed in seeds:
            image, squares = made_picture(seed, count=3)
            data = encoded(image)
            boxes = tuple(Box(name, x, y, w, h) for name, x, y, w, h in squares)
            picture = Picture(
                digest=sha256_hex(data),
                extension="png",
                width=SIZE[1],
                height=SIZE[0],
                size_bytes=len(data),
                boxes=boxes if annotated else None,
            )
            path = self.given / "assets" / asset_path(picture.upright_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            pictures.append(picture)
        write_pictures(self.given / "lode" / role, pictures, kind="view", class_names=CLASSES)
        return pictures
