"""The JSON that the front and the algorithm processes answer with."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lodeworks_formats.boxes import Box


def found(boxes: Sequence[Box], *, classes: Mapping[str, int]) -> bytes:
    """Returns the answer to a picture. Coordinates in its pixels with 3 decimals, confidences with 5."""
    results = [
        {
            "class": classes[box.class_name],
            "class_name": box.class_name,
            "confidence": round(box.score or 0.0, 5),
            "rect": {
                "left": round(box.x, 3),
                "top": round(box.y, 3),
                "width": round(box.w, 3),
                "height": round(box.h, 3),
            },
        }
        for box in boxes
    ]
    return good({"results": results})


def good(data: Mapping[str, Any]) -> bytes:
    """Returns an answer."""
    return _bytes({"code": 0, "msg": "", "data": data})


def bad(status: int, message: str) -> bytes:
    """Returns a refusal; its code is that of HTTP."""
    return _bytes({"code": status, "msg": message, "data": {}})


def _bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
