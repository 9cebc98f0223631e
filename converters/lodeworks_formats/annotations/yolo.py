"""YOLO: one text file per picture (`class x_centre y_centre width height`, shares of the frame) and a data.yaml."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lodeworks_formats.annotations.frame import BoxProblem
from lodeworks_formats.boxes import MAX_CLASS_NAME, Box
from lodeworks_formats.errors import FormatError

_FIELDS = 5
_WITH_SCORE = 6


@dataclass(frozen=True, slots=True)
class YoloDataset:
    """data.yaml: class names by index, and the folders of each split (train, val, test)."""

    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    root: str = ""


def parse_yolo_dataset(text: str, *, file: str = "data.yaml") -> YoloDataset:
    """Reads data.yaml; names may be a list or a mapping from 0. Raises FormatError BAD_YOLO."""
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise FormatError("BAD_YOLO", "this is no YAML", file, mark and mark.line + 1) from error
    names: Any = raw.get("names") if isinstance(raw, dict) else None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise FormatError("BAD_YOLO", "the keys of 'names' do not count from 0", file)
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise FormatError("BAD_YOLO", "the key 'names' with the classes is missing", file)
    names = [str(name).strip() for name in names]
    if not all(0 < len(name) <= MAX_CLASS_NAME and name.isprintable() for name in names):
        message = f"a class name is empty, longer than {MAX_CLASS_NAME} or holds characters that cannot be printed"
        raise FormatError("BAD_YOLO", message, file)
    splits = {}
    for key in ("train", "val", "test"):
        if folders := raw.get(key):
            splits[key] = tuple(map(str, folders)) if isinstance(folders, list) else (str(folders),)
    return YoloDataset(tuple(names), splits, str(raw.get("path") or ""))


def render_yolo_dataset(dataset: YoloDataset) -> str:
    """Returns data.yaml."""
    raw: dict[str, Any] = {"path": dataset.root or "."}
    raw |= {key: folders[0] if len(folders) == 1 else list(folders) for key, folders in dataset.splits.items()}
    raw |= {"nc": len(dataset.class_names), "names": list(dataset.class_names)}
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def parse_yolo_labels(
    text: str, *, class_names: Sequence[str], width: int, height: int, file: str = ""
) -> tuple[tuple[Box, ...], tuple[BoxProblem, ...]]:
    """Reads one label file; boxes without area are named, a broken line refuses the file (FormatError BAD_YOLO)."""
    boxes: list[Box] = []
    problems: list[BoxProblem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(part) for part in line.split()]
        except ValueError:
            raise FormatError("BAD_YOLO", "a line holds something that is no number", file, number) from None
        if len(values) not in (_FIELDS, _WITH_SCORE) or not all(map(math.isfinite, values)):
            raise FormatError("BAD_YOLO", "a line wants class, centre, width, height and maybe a score", file, number)
        index = int(values[0])
        if index != values[0] or not 0 <= index < len(class_names):
            raise FormatError("BAD_YOLO", f"class {values[0]:g} is none of the {len(class_names)} names", file, number)
        cx, cy, w, h = values[1] * width, values[2] * height, values[3] * width, values[4] * height
        if w <= 0 or h <= 0:
            problems.append(
                BoxProblem("ZERO_AREA_BOX", "the box has no area", class_names[index], tuple(values[1:5]), number)
            )
            continue
        score = values[5] if len(values) == _WITH_SCORE else None
        boxes.append(Box(class_names[index], cx - w / 2, cy - h / 2, w, h, score=score))
    return tuple(boxes), tuple(problems)


def render_yolo_labels(boxes: Iterable[Box], *, class_names: Sequence[str], width: int, height: int) -> str:
    """Returns a label file; boxes of other classes are left out. Scores, tags and rotation do not fit this format."""
    indices = {name.casefold(): index for index, name in enumerate(class_names)}
    lines = []
    for box in boxes:
        index = indices.get(box.class_name.casefold())
        if index is not None:
            shares = ((box.x + box.w / 2) / width, (box.y + box.h / 2) / height, box.w / width, box.h / height)
            lines.append(f"{index} {' '.join(f'{share:.12g}' for share in shares)}\n")
    return "".join(lines)
