"""Draws what a device answered over HTTP: `python -m lodeworks_builtin.reports.answer PICTURE ANSWER.json OUT.png`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
_LONGEST_SIDE = 960


def draw_answer(picture: NDArray[np.uint8], results: Sequence[Mapping[str, Any]]) -> NDArray[np.uint8]:
    """Returns the picture, enlarged for reading, with each result as a box and a label.

    Args:
        picture: BGR uint8 [H, W, 3].
        results: As the device answers: class_name, confidence, rect{left, top, width, height} in pixels.
    """
    scale = max(1.0, _LONGEST_SIDE / max(picture.shape[:2]))
    drawn = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    names = sorted({entry["class_name"] for entry in results})
    for entry in sorted(results, key=lambda entry: entry["confidence"]):
        red, green, blue = _COLOURS[names.index(entry["class_name"]) % len(_COLOURS)]
        _draw_box(drawn, entry, scale=scale, colour=(blue, green, red))
    return np.asarray(drawn, dtype=np.uint8)


def _draw_box(drawn: Any, entry: Mapping[str, Any], *, scale: float, colour: tuple[int, int, int]) -> None:
    rect = entry["rect"]
    left, top = round(rect["left"] * scale), round(rect["top"] * scale)
    right, bottom = round((rect["left"] + rect["width"]) * scale), round((rect["top"] + rect["height"]) * scale)
    cv2.rectangle(drawn, (left, top), (right, bottom), colour, 3, cv2.LINE_AA)
    text = f"{entry['class_name']} {entry['confidence']:.2f}"
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)
    above = max(top, height + base + 4)
    cv2.rectangle(drawn, (left, above - height - base - 4), (left + width + 8, above), colour, cv2.FILLED)
    cv2.putText(drawn, text, (left + 4, above - base), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2, cv2.LINE_AA)


def main(arguments: Sequence[str]) -> int:
    """Reads picture and answer, writes the PNG, returns the exit code."""
    picture, answer, out = (Path(argument) for argument in arguments)
    image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if image is None:
        sys.stderr.write(f"error: {picture} is not a picture\n")
        return 1
    results = json.loads(answer.read_text("utf-8"))["data"]["results"]
    cv2.imwrite(str(out), draw_answer(np.asarray(image, dtype=np.uint8), results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
