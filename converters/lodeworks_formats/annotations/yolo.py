"""YOLO: one text file per picture (`class x_centre y_centre width height`, shares of the frame) and a data.yaml."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lodeworks_formats.annotations.frame import BoxProblem
from lodeworks_formats.boxes import MAX_CLASS_NAME, Box
from lodeworks_formats.errors import FormatError

_SPLITS = ("train", "val", "valid", "test")
_FIELDS = 5
_WITH_SCORE = 6
_LEAST_OUTLINE = 7
_FARTHEST = 1e6


@dataclass(frozen=True, slots=True)
class YoloDataset:
    """data.yaml: class names by index, and the folders of each split (train, val, test)."""

    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    root: str = ""


def parse_yolo_dataset(text: str, *, file: str = "data.yaml", class_names: Sequence[str] = ()) -> YoloDataset:
    """Reads data.yaml; names may be a list or a mapping from 0, and `class_names` counts instead where it is given.

    Raises:
        FormatError: BAD_YOLO, YOLO_WITHOUT_NAMES.
    """
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise FormatError("BAD_YOLO", "this is no YAML", file, mark and mark.line + 1) from error
    names: Any = raw.get("names") if isinstance(raw, dict) else None
    if class_names:
        names, raw = list(class_names), raw if isinstance(raw, dict) else {}
    if isinstance(names, dict):
        if {*names} != {*range(len(names))}:
            raise FormatError("BAD_YOLO", "the keys of 'names' do not count from 0", file)
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise FormatError("YOLO_WITHOUT_NAMES", "the key 'names' with the classes is missing", file)
    names = _checked_names([str(name).strip() for name in names], file=file)
    return YoloDataset(names, _splits(raw), str(raw.get("path") or ""))


def _splits(raw: Mapping[Any, Any]) -> dict[str, tuple[str, ...]]:
    splits = {}
    for key, value in raw.items():
        folders = tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        # Any other key may mean anything, unless it names a folder as we write it.
        if value and (key in _SPLITS or folders == (f"images/{key}",)):
            splits["val" if key == "valid" else str(key)] = folders
    return splits


def _checked_names(names: Sequence[str], *, file: str) -> tuple[str, ...]:
    if not all(0 < len(name) <= MAX_CLASS_NAME and name.isprintable() for name in names):
        message = f"a class name is empty, longer than {MAX_CLASS_NAME} or holds characters that cannot be printed"
        raise FormatError("BAD_YOLO", message, file)
    return tuple(names)


def render_yolo_dataset(dataset: YoloDataset) -> str:
    """Returns data.yaml."""
    raw: dict[str, Any] = {"path": dataset.root or "."}
    raw |= {key: folders[0] if len(folders) == 1 else list(folders) for key, folders in dataset.splits.items()}
    raw |= {"nc": len(dataset.class_names), "names": list(dataset.class_names)}
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def parse_yolo_names(text: str, *, file: str = "classes.txt") -> tuple[str, ...]:
    """Reads a list of names, one per line, as labelImg and darknet write it. Raises FormatError BAD_YOLO."""
    return _checked_names([line.strip() for line in text.strip().splitlines()], file=file)


def parse_yolo_labels(
    text: str, *, class_names: Sequence[str], width: int, height: int, file: str = ""
) -> tuple[tuple[Box, ...], tuple[BoxProblem, ...]]:
    """Reads one label file; boxes without area are named, a broken line refuses the file (FormatError BAD_YOLO).

    A line is `class x_centre y_centre width height [score]`, or `class x1 y1 x2 y2 x3 y3 …`, an outline.
    """
    boxes: list[Box] = []
    problems: list[BoxProblem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(part) for part in line.split()]
        except ValueError:
            raise FormatError("BAD_YOLO", "a line holds something that is no number", file, number) from None
        outlined = len(values) >= _LEAST_OUTLINE and len(values) % 2 == 1
        if not (outlined or len(values) in (_FIELDS, _WITH_SCORE)) or not all(abs(one) <= _FARTHEST for one in values):
            raise FormatError("BAD_YOLO", "a line wants class, centre, width, height and maybe a score", file, number)
        index = int(values[0])
        if index != values[0] or not 0 <= index < len(class_names):
            raise FormatError(
                "UNKNOWN_CLASS_NUMBER",
                f"class {values[0]:g} is none of the {len(class_names)} names, which count from 0",
                file,
                number,
            )
        if outlined:
            box = _outlined(class_names[index], values[1:], width=width, height=height)
        else:
            cx, cy, w, h = values[1] * width, values[2] * height, values[3] * width, values[4] * height
            score = values[5] if len(values) == _WITH_SCORE and 0.0 <= values[5] <= 1.0 else None
            box = Box(class_names[index], cx - w / 2, cy - h / 2, w, h, score=score)
        if box.w <= 0 or box.h <= 0:
            message = f"the box has no area ({', '.join(f'{value:g}' for value in values[1:5])})"
            problems.append(BoxProblem("ZERO_AREA_BOX", message, box.class_name, tuple(values[1:5]), number))
        else:
            boxes.append(box)
    return tuple(boxes), tuple(problems)


def _outlined(class_name: str, shares: Sequence[float], *, width: int, height: int) -> Box:
    points = [share * side for share, side in zip(shares, (width, height) * (len(shares) // 2), strict=True)]
    x, y = min(points[0::2]), min(points[1::2])
    shape = json.dumps([points], separators=(",", ":"))
    return Box(class_name, x, y, max(points[0::2]) - x, max(points[1::2]) - y, shape=shape)


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
