"""Pascal VOC: reading what strangers wrote, writing for users (fractions kept) and for executors (integers).

VOC counts corners inclusively: x = xmin, w = xmax − xmin + 1. A box of ours at most one pixel wide would thus read as
zero area; our own files then add `width` and `height` to `bndbox`, which other readers skip.
"""

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lodeworks_formats.annotations.frame import LEAST_SIDE_PX, BoxProblem, integer_edges
from lodeworks_formats.annotations.safe_xml import parse_xml
from lodeworks_formats.boxes import MAX_CLASS_NAME, Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.outlines import check_outline
from lodeworks_formats.pictures import Picture

_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_UNKNOWN = "-1.0"
_MOST_TURNED = 1e4
_NO_OUTLINE = "the shape of the object is no outline that can be read and was dropped; the box was kept"


@dataclass(frozen=True, slots=True)
class VocAnnotation:
    """What one VOC file says.

    Attributes:
        boxes: In the frame of the file, not clipped.
        problems: Objects that were left out or lost their outline, with their lines.
        filename: Name of the picture as written, "" when missing.
        width: Of the frame as written, 0 when missing.
        height: Likewise.
        tags: Words about the picture (YMIR's cks).
    """

    boxes: tuple[Box, ...]
    problems: tuple[BoxProblem, ...] = ()
    filename: str = ""
    width: int = 0
    height: int = 0
    tags: tuple[str, ...] = ()


def parse_voc(data: bytes, *, file: str = "") -> VocAnnotation:
    """Reads one VOC file; a bad object is left out and named, a bad file refused.

    Raises:
        FormatError: BROKEN_XML, HOSTILE_XML, TOO_LARGE, or NOT_VOC for XML of another kind.
    """
    root = parse_xml(data, file=file)
    if root.tag != "annotation":
        raise FormatError("NOT_VOC", f"the root element is <{root.tag}>, not <annotation>", file)
    boxes: list[Box] = []
    problems: list[BoxProblem] = []
    for index, item in enumerate(root.findall("object")):
        found = _box(item)
        if isinstance(found, Box):
            boxes.append(found)
            if found.shape is None and (item.findtext("shape") or "").strip():
                place = (found.x, found.y, found.w, found.h)
                line = _line_of_object(data, index)
                problems.append(BoxProblem("SHAPE_DROPPED", _NO_OUTLINE, found.class_name, place, line))
        else:
            reason, message, name, edges = found
            problems.append(BoxProblem(reason, message, name, edges, _line_of_object(data, index)))
    size = root.find("size")
    return VocAnnotation(
        tuple(boxes),
        tuple(problems),
        filename=(root.findtext("filename") or "").strip(),
        width=_whole(size, "width"),
        height=_whole(size, "height"),
        tags=_tags(root.find("cks")),
    )


def _box(item: ET.Element) -> Box | tuple[str, str, str, tuple[float, ...]]:
    # One walk over the children instead of a search per field: this is where an import spends its time.
    parts = {child.tag: child for child in item}
    words = {tag: child.text or "" for tag, child in parts.items()}
    name = words.get("name", "").strip()
    if "bndbox" not in parts or not name:
        return "BAD_BOX", "the object has no bndbox" if name else "the object has no name", name, ()
    if len(name) > MAX_CLASS_NAME or not name.isprintable():
        message = f"the class name is longer than {MAX_CLASS_NAME} or holds characters that cannot be printed"
        return "BAD_CLASS_NAME", message, name[:MAX_CLASS_NAME], ()
    place = {child.tag: child.text or "" for child in parts["bndbox"]}
    try:
        xmin, ymin, xmax, ymax = edges = tuple(float(place.get(key, "")) for key in _CORNERS)
        w, h = float(place.get("width") or xmax - xmin + 1), float(place.get("height") or ymax - ymin + 1)
        rotation = float(place.get("rotate_angle") or 0.0)
    except ValueError:
        return "BAD_BOX", "an edge of the box is missing or is no number", name, ()
    if not math.isfinite(xmin + ymin + xmax + ymax + w + h) or not abs(rotation) <= _MOST_TURNED:
        return "BAD_BOX", "an edge of the box is no number", name, ()
    if (xmax <= xmin and "width" not in place) or (ymax <= ymin and "height" not in place) or min(w, h) < LEAST_SIDE_PX:
        return "ZERO_AREA_BOX", f"the box has no area ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g})", name, edges
    return Box(
        name,
        xmin,
        ymin,
        w,
        h,
        score=_share(words.get("confidence")),
        rotation=rotation,
        box_quality=_share(words.get("box_quality")),
        tags=_tags(parts.get("tags")),
        attributes=_attributes(parts.get("attributes")),
        crowd=_flag(words, "crowd"),
        difficult=_flag(words, "difficult"),
        shape=_outline(words.get("shape", "")),
    )


def _outline(text: str) -> str | None:
    """Returns the outline that our own exports write beside the box; None for none, and for what is none of ours."""
    if not text:
        return None
    try:
        check_outline(json.loads(text))
    except (ValueError, RecursionError, FormatError):
        return None
    return text


def _flag(words: Mapping[str, str], key: str) -> bool:
    return words.get(key, "").strip().lower() in ("1", "true")


def _share(text: str | None) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None


def _whole(size: ET.Element | None, key: str) -> int:
    text = "" if size is None else (size.findtext(key) or "").strip()
    return int(text) if text.isdecimal() else 0


def _tags(parent: ET.Element | None) -> tuple[str, ...]:
    if parent is None:
        return ()
    words = []
    for child in parent:
        text = child.text or ""
        words.append(text if child.tag == "tag" else f"{child.tag}={text}" if text.strip() else child.tag)
    return tuple(words)


def _attributes(parent: ET.Element | None) -> dict[str, str]:
    if parent is None:
        return {}
    pairs = parent.findall("attribute")
    return {item.findtext("name") or "": item.findtext("value") or "" for item in pairs}


def _line_of_object(data: bytes, index: int) -> int | None:
    position = -1
    for _ in range(index + 1):
        position = data.find(b"<object>", position + 1)
        if position < 0:
            return None
    return data.count(b"\n", 0, position) + 1


def render_voc(picture: Picture, boxes: Iterable[Box], *, filename: str, folder: str = "images") -> bytes:
    """Returns the file a user gets: fractions kept, everything a box holds written down."""
    root = _head(picture, folder=folder, filename=filename)
    for box in boxes:
        item = _object(root, box)
        place = ET.SubElement(item, "bndbox")
        right, lower = box.x + box.w - 1, box.y + box.h - 1
        for key, value in zip(_CORNERS, (box.x, box.y, right, lower), strict=True):
            _add(place, key, _number(value))
        # Where the corners alone would not give the same size back, the size itself is written.
        if right <= box.x or right - box.x + 1 != box.w:
            _add(place, "width", repr(float(box.w)))
        if lower <= box.y or lower - box.y + 1 != box.h:
            _add(place, "height", repr(float(box.h)))
        if box.rotation:
            _add(place, "rotate_angle", repr(float(box.rotation)))
        _extras(item, box)
    return _render(root)


def _extras(item: ET.Element, box: Box) -> None:
    _add(item, "difficult", str(int(box.difficult)))
    if box.crowd:
        _add(item, "crowd", "1")
    if box.tags:
        _add_tags(ET.SubElement(item, "tags"), box.tags)
    if box.box_quality is not None:
        _add(item, "box_quality", repr(float(box.box_quality)))
    if box.score is not None:
        _add(item, "confidence", repr(float(box.score)))
    if box.attributes:
        parent = ET.SubElement(item, "attributes")
        for name, value in box.attributes.items():
            pair = ET.SubElement(parent, "attribute")
            _add(pair, "name", name)
            _add(pair, "value", value)
    if box.shape is not None:
        _add(item, "shape", box.shape)


def render_voc_input(
    picture: Picture, boxes: Iterable[Box], *, asset_path: str, class_names: Sequence[str] | None = None
) -> bytes:
    """Returns the file an executor gets under /in/annotations: integers, chosen classes only, YMIR's fields.

    Args:
        picture: Gives size and tags.
        boxes: Its boxes.
        asset_path: The picture's path inside the container.
        class_names: The chosen classes, matched without case and written in this spelling; None writes all.
    """
    chosen = None if class_names is None else {name.casefold(): name for name in class_names}
    root = _head(picture, folder="VOC2012", filename=asset_path)
    for box in boxes:
        name = box.class_name if chosen is None else chosen.get(box.class_name.casefold())
        if name is None:
            continue
        item = _object(root, box, name=name)
        place = ET.SubElement(item, "bndbox")
        edges = integer_edges(box, width=picture.width, height=picture.height)
        for key, value in zip(_CORNERS, edges, strict=True):
            _add(place, key, str(value))
        _add(place, "rotate_angle", repr(float(box.rotation)))
        _add(item, "difficult", str(int(box.difficult)))
        _add_tags(ET.SubElement(item, "tags"), box.tags)
        _add(item, "box_quality", _UNKNOWN if box.box_quality is None else repr(float(box.box_quality)))
        _add(item, "confidence", _UNKNOWN if box.score is None else repr(float(box.score)))
    _add(root, "image_quality", _UNKNOWN)
    return _render(root)


def _head(picture: Picture, *, folder: str, filename: str) -> ET.Element:
    root = ET.Element("annotation")
    _add(root, "folder", folder)
    _add(root, "filename", filename)
    source = ET.SubElement(root, "source")
    _add(source, "database", "unknown")
    size = ET.SubElement(root, "size")
    for key, value in (("width", picture.width), ("height", picture.height), ("depth", picture.channels)):
        _add(size, key, str(value))
    _add(root, "segmented", "0")
    if picture.tags:
        _add_tags(ET.SubElement(root, "cks"), picture.tags)
    return root


def _object(root: ET.Element, box: Box, *, name: str | None = None) -> ET.Element:
    item = ET.SubElement(root, "object")
    _add(item, "name", box.class_name if name is None else name)
    for key, value in (("pose", "unknown"), ("truncated", "0"), ("occluded", "0")):
        _add(item, key, value)
    return item


def _add_tags(parent: ET.Element, tags: Iterable[str]) -> None:
    for tag in tags:
        key, equals, value = tag.partition("=")
        if key != "tag" and _XML_NAME.match(key) and bool(equals) == bool(value.strip()):
            _add(parent, key, value)
        else:
            _add(parent, "tag", tag)


def _add(parent: ET.Element, key: str, text: str) -> None:
    if _NOT_XML.search(text):
        raise FormatError("NOT_REPRESENTABLE", f"{text!r} holds a character that XML cannot carry; rename it")
    ET.SubElement(parent, key).text = text


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _render(root: ET.Element) -> bytes:
    # Carriage returns would come back as newlines; everything else survives as it is.
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode").replace("\r", "&#13;").encode() + b"\n"
