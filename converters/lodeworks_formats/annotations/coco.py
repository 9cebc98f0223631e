"""COCO detection JSON: for users (fractions, original names) and for executors (integers, 0-based ids, hash names)."""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from lodeworks_formats.annotations.frame import BoxProblem, integer_edges
from lodeworks_formats.boxes import MAX_CLASS_NAME, Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.outlines import check_outline, outline_edges
from lodeworks_formats.pictures import Picture

INPUT, USER = "input", "user"

_MOST_TURNED = 1e4
_FARTHEST = 1e9


@dataclass(slots=True)
class CocoImage:
    """One entry of `images`, with its annotations; width and height are 0 when not written."""

    file_name: str
    width: int = 0
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    problems: list[BoxProblem] = field(default_factory=list)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One COCO file.

    Attributes:
        class_names: By ascending id.
        images: By their name as written.
        strays: Annotations of images that the file does not list.
        doubles: Images that share an id or a name with an earlier one, which counts: reason, message.
        split: The part that `info` names, "" for none; None where it is silent. Our own files say it.
    """

    class_names: tuple[str, ...]
    images: dict[str, CocoImage]
    strays: tuple[BoxProblem, ...] = ()
    doubles: tuple[tuple[str, str], ...] = ()
    split: str | None = None


def parse_coco(data: bytes, *, file: str = "") -> CocoFile:
    """Reads a COCO file; a bad annotation is named on its image, a bad file refused (FormatError BAD_COCO)."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise FormatError("BAD_COCO", "this is no JSON", file, line) from error
    return read_coco(raw, file=file)


def read_coco(raw: Any, *, file: str = "") -> CocoFile:
    """Returns what the document of a COCO file says, as parse_coco does."""
    try:
        names = _categories(raw["categories"], file=file)
        images, doubles = _images(raw["images"])
        strays = _annotate(images, raw.get("annotations") or [], names)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise FormatError("BAD_COCO", f"a key is missing or of the wrong type ({error})", file) from error
    by_name = {image.file_name: image for image in images.values() if image is not None}
    ordered = sorted(names.items(), key=lambda item: (str(type(item[0])), item[0]))
    class_names = tuple(name for _, name in ordered)
    info = raw.get("info")
    split = info.get("split") if isinstance(info, dict) else None
    return CocoFile(class_names, by_name, tuple(strays), tuple(doubles), split if isinstance(split, str) else None)


def _categories(raw: Any, *, file: str) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for item in raw:
        name = str(item["name"]).strip()
        if names.setdefault(item["id"], name) != name:
            message = f"category {item['id']!r} is both {names[item['id']]!r} and {name!r}; give each class an id"
            raise FormatError("BAD_COCO", message, file)
    return names


def _images(raw: Any) -> tuple[dict[Any, CocoImage | None], list[tuple[str, str]]]:
    """Returns the images by id, None for one whose name another has, and what is there twice."""
    images: dict[Any, CocoImage | None] = {}
    taken: set[str] = set()
    doubles = []
    for item in raw:
        name = str(item["file_name"])
        if item["id"] in images:
            doubles.append(("DUPLICATE_ID", f"image {name!r} has the id {item['id']!r} of another one"))
        elif name in taken:
            doubles.append(("DUPLICATE_NAME", f"image {item['id']!r} has the name {name!r} of another one"))
            images[item["id"]] = None
        else:
            taken.add(name)
            width, height = int(item.get("width") or 0), int(item.get("height") or 0)
            images[item["id"]] = CocoImage(name, width, height, tags=tuple(map(str, item.get("tags") or ())))
    return images, doubles


def _annotate(images: dict[Any, CocoImage | None], raw: Any, names: dict[Any, str]) -> list[BoxProblem]:
    strays = []
    for item in raw:
        image = images.get(item["image_id"])
        if image is None:
            message = f"{_called(item)} names image {item['image_id']!r}, which is not there"
            if item["image_id"] in images:
                message = f"{_called(item)} belongs to image {item['image_id']!r}, whose name is there twice"
            name = names.get(item.get("category_id"), "")
            strays.append(BoxProblem("ANNOTATION_WITHOUT_IMAGE", message, name[:MAX_CLASS_NAME]))
            continue
        found = _box(item, names)
        if isinstance(found, Box):
            image.boxes.append(found)
            if found.shape is None and item.get("segmentation"):
                message = f"the outline of {_called(item)} is broken and was dropped; the box was kept"
                edges = (found.x, found.y, found.w, found.h)
                image.problems.append(BoxProblem("SHAPE_DROPPED", message, found.class_name, edges))
        else:
            image.problems.append(found)
    return strays


def _called(item: Any) -> str:
    return f"annotation {item['id']!r}" if "id" in item else "an annotation"


def _box(item: Any, names: dict[Any, str]) -> Box | BoxProblem:
    called, category = _called(item), item.get("category_id")
    name = names.get(category, "")
    shape = item.get("segmentation")
    try:
        edges = tuple(map(float, item["bbox"] if item.get("bbox") else outline_edges(shape)))
    except (KeyError, TypeError, ValueError, OverflowError, FormatError):
        return BoxProblem("BAD_BOX", f"{called} has no bbox of four numbers or a broken outline", name)
    wrong = _wrong(called, name, category, edges)
    if wrong is not None:
        return wrong
    x, y, w, h = edges
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
        shape=_outline(shape),
    )


def _outline(shape: Any) -> str | None:
    """Returns an outline as text; None for none, and for a broken one."""
    if not shape:
        return None
    try:
        check_outline(shape)
    except FormatError:
        return None
    return json.dumps(shape, separators=(",", ":"))


def _wrong(called: str, name: str, category: Any, edges: tuple[float, ...]) -> BoxProblem | None:
    """Returns what is wrong with a class and four edges, if anything is."""
    if len(name) > MAX_CLASS_NAME or not name.isprintable():
        message = f"the class name is longer than {MAX_CLASS_NAME} or holds characters that cannot be printed"
        return BoxProblem("BAD_CLASS_NAME", message, name[:MAX_CLASS_NAME])
    if not name:
        return BoxProblem("UNKNOWN_CATEGORY", f"{called} names category {category!r}, which is not there", "")
    if len(edges) != 4 or not all(abs(edge) <= _FARTHEST for edge in edges):  # noqa: PLR2004 — x, y, w, h
        return BoxProblem("BAD_BOX", f"the bbox of {called} is not four numbers", name)
    x, y, w, h = edges
    if w <= 0 or h <= 0:
        message = f"the box of {called} has no area ({x:g}, {y:g}, {w:g} x {h:g})"
        return BoxProblem("ZERO_AREA_BOX", message, name, edges)
    return None


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
    split: str | None = None,
) -> int:
    """Writes a COCO file picture by picture and returns the number of annotations.

    Args:
        stream: Where to.
        pictures: Sorted by digest for executors.
        class_names: Category ids are positions here: from 0 for executors, from 1 for users. Others are left out.
        form: INPUT (integers) or USER (fractions, tags, scores).
        names: file_name of a picture; default upright_name.
        boxes: Which boxes of a picture; default its ground truth.
        split: The part that the pictures belong to, told in `info`; None tells nothing.
    """
    first_id = 0 if form == INPUT else 1
    ids = {name.casefold(): index for index, name in enumerate(class_names, first_id)}
    named, chosen = names or _upright_name, boxes or _truth
    count = 0
    categories = [{"id": ids[name.casefold()], "name": name, "supercategory": "none"} for name in class_names]
    info = {} if split is None else {"split": split}
    stream.write(f'{{"info":{_dumps(info)},"licenses":[],"categories":{_dumps(categories)},"images":[')
    with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        for image_id, picture in enumerate(pictures):
            head = {"id": image_id, "file_name": named(picture), "width": picture.width, "height": picture.height}
            tagged = {"tags": list(picture.tags)} if form == USER and picture.tags else {}
            stream.write(("," if image_id else "") + _dumps(head | tagged))
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
