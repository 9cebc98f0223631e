"""COCO detection JSON: for users (fractions, original names) and for executors (integers, 0-based ids, hash names)."""

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from lodeworks_formats.annotations.frame import BoxProblem, integer_edges
from lodeworks_formats.boxes import MAX_CLASS_NAME, Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture

INPUT, USER = "input", "user"

_MOST_TURNED = 1e4


@dataclass(slots=True)
class CocoImage:
    """One entry of `images`, with its annotations; width and height are 0 when not written."""

    file_name: str
    width: int = 0
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    problems: list[BoxProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One COCO file: the classes by ascending id, and the images by their name as written."""

    class_names: tuple[str, ...]
    images: dict[str, CocoImage]


def parse_coco(data: bytes, *, file: str = "") -> CocoFile:
    """Reads a COCO file; a bad annotation is named on its image, a bad file refused (FormatError BAD_COCO)."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise FormatError("BAD_COCO", "this is no JSON", file, line) from error
    try:
        names = {item["id"]: str(item["name"]).strip() for item in raw["categories"]}
        images = {item["id"]: _image(item) for item in raw["images"]}
        annotations = raw.get("annotations") or []
        for item in annotations:
            image = images.get(item["image_id"])
            if image is None:
                raise FormatError(
                    "BAD_COCO", f"an annotation names image {item['image_id']!r}, which is not there", file
                )
            found = _box(item, names)
            if isinstance(found, Box):
                image.boxes.append(found)
            else:
                image.problems.append(found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError("BAD_COCO", f"a key is missing or of the wrong type ({error})", file) from error
    by_name = {image.file_name: image for image in images.values()}
    if len(by_name) != len(raw["images"]):
        raise FormatError("BAD_COCO", "two images share an id or a file_name", file)
    return CocoFile(tuple(name for _, name in sorted(names.items())), by_name)


def _image(item: Any) -> CocoImage:
    return CocoImage(str(item["file_name"]), int(item.get("width") or 0), int(item.get("height") or 0))


def _box(item: Any, names: dict[Any, str]) -> Box | BoxProblem:
    name = names.get(item.get("category_id"), "")
    try:
        x, y, w, h = edges = tuple(map(float, item["bbox"]))
    except (KeyError, TypeError, ValueError):
        return BoxProblem("BAD_BOX", "the annotation has no bbox of four numbers", name)
    if len(name) > MAX_CLASS_NAME or not name.isprintable():
        message = f"the class name is longer than {MAX_CLASS_NAME} or holds characters that cannot be printed"
        return BoxProblem("BAD_CLASS_NAME", message, name[:MAX_CLASS_NAME], edges)
    if not name or not all(map(math.isfinite, edges)):
        return BoxProblem("BAD_BOX", "the category is unknown or an edge is no number", name, edges)
    if w <= 0 or h <= 0:
        return BoxProblem("ZERO_AREA_BOX", f"the box has no area ({x:g}, {y:g}, {w:g} x {h:g})", name, edges)
    shape = item.get("segmentation")
    return Box(
        name,
        x,
        y,
        w,
        h,
        score=_share(item.get("score")),
        rotation=_angle(item.get("rotation")),
        box_quality=_share(item.get("box_quality")),
        tags=tuple(map(str, item.get("tags") or ())),
        attributes={str(key): str(value) for key, value in (item.get("attributes") or {}).items()},
        crowd=bool(item.get("iscrowd", 0)),
        difficult=bool(item.get("difficult", 0)),
        shape=json.dumps(shape, separators=(",", ":")) if shape else None,
    )


def _share(raw: Any) -> float | None:
    return float(raw) if isinstance(raw, int | float) and 0.0 <= raw <= 1.0 else None


def _angle(raw: Any) -> float:
    return float(raw) if isinstance(raw, int | float) and abs(raw) <= _MOST_TURNED else 0.0


def write_coco(
    stream: IO[str],
    pictures: Iterable[Picture],
    *,
    class_names: Sequence[str],
    form: str,
    names: Callable[[Picture], str] | None = None,
    boxes: Callable[[Picture], Iterable[Box] | None] | None = None,
) -> int:
    """Writes a COCO file picture by picture and returns the number of annotations.

    Args:
        stream: Where to.
        pictures: Sorted by digest for executors.
        class_names: Category ids are positions here: from 0 for executors, from 1 for users. Others are left out.
        form: INPUT (integers) or USER (fractions, tags, scores).
        names: file_name of a picture; default upright_name.
        boxes: Which boxes of a picture; default its ground truth.
    """
    first_id = 0 if form == INPUT else 1
    ids = {name.casefold(): index for index, name in enumerate(class_names, first_id)}
    named, chosen = names or _upright_name, boxes or _truth
    count = 0
    categories = [{"id": ids[name.casefold()], "name": name, "supercategory": "none"} for name in class_names]
    stream.write(f'{{"info":{{}},"licenses":[],"categories":{_dumps(categories)},"images":[')
    with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        for image_id, picture in enumerate(pictures):
            head = {"id": image_id, "file_name": named(picture), "width": picture.width, "height": picture.height}
            stream.write(("," if image_id else "") + _dumps(head))
            for box in chosen(picture) or ():
                category = ids.get(box.class_name.casefold())
                if category is None:
                    continue
                entry = _input_entry(box, picture) if form == INPUT else _user_entry(box)
                spool.write(
                    ("," if count else "")
                    + _dumps({"id": count, "image_id": image_id, "category_id": category} | entry)
                )
                count += 1
        stream.write('],"annotations":[')
        spool.seek(0)
        while chunk := spool.read(1 << 20):
            stream.write(chunk)
    stream.write("]}\n")
    return count


def _input_entry(box: Box, picture: Picture) -> dict[str, Any]:
    x1, y1, x2, y2 = integer_edges(box, width=picture.width, height=picture.height)
    w, h = x2 - x1 + 1, y2 - y1 + 1
    entry: dict[str, Any] = {"bbox": [x1, y1, w, h], "area": w * h, "iscrowd": int(box.crowd)}
    if box.shape is not None:
        entry["segmentation"] = json.loads(box.shape)
    return entry


def _user_entry(box: Box) -> dict[str, Any]:
    entry: dict[str, Any] = {"bbox": [box.x, box.y, box.w, box.h], "area": box.area, "iscrowd": int(box.crowd)}
    entry["segmentation"] = [] if box.shape is None else json.loads(box.shape)
    optional = {
        "score": box.score,
        "rotation": box.rotation or None,
        "box_quality": box.box_quality,
        "tags": list(box.tags) or None,
        "attributes": dict(box.attributes) or None,
        "difficult": int(box.difficult) or None,
    }
    return entry | {key: value for key, value in optional.items() if value is not None}


def _upright_name(picture: Picture) -> str:
    return picture.upright_name


def _truth(picture: Picture) -> Iterable[Box] | None:
    return picture.boxes


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
