"""Results of segmentation: boxes with outlines, as a COCO document in place of the dict of detections.

read_segmentation(document) -> dict[base name, tuple[Box, ...]]
write_segmentation(stream, pictures, class_names=...)
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, Any

from lodeworks_formats.annotations.coco import USER, read_coco, write_coco
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture

_FILE = "infer-result.json"
_KEYS = frozenset({"images", "categories"})
_HARMLESS = frozenset({"ZERO_AREA_BOX", "SHAPE_DROPPED"})


def is_segmentation(document: Any) -> bool:
    """Whether a parsed infer-result.json is a COCO document."""
    return isinstance(document, dict) and document.keys() >= _KEYS


def read_segmentation(document: Any) -> dict[str, tuple[Box, ...]]:
    """Returns the boxes of each picture, by base name, with their outlines.

    A mask without a score counts as certain (1.0), as that of a semantic segmentation; scores are kept within 0 to 1.
    What has no area is left out.

    Raises:
        FormatError: BAD_RESULT.
    """
    try:
        for item in document.get("annotations") or []:
            item["score"] = _kept(float(item.get("score", 1.0)))
        found = read_coco(document, file=_FILE)
    except (TypeError, ValueError, AttributeError) as error:
        raise FormatError("BAD_RESULT", f"an annotation is no object with a score ({error})", _FILE) from error
    except FormatError as error:
        raise FormatError("BAD_RESULT", error.message, _FILE) from error
    problems = [*found.strays, *(problem for image in found.images.values() for problem in image.problems)]
    if wrong := [problem for problem in problems if problem.reason not in _HARMLESS]:
        raise FormatError("BAD_RESULT", wrong[0].message, _FILE)
    if found.doubles:
        raise FormatError("BAD_RESULT", found.doubles[0][1], _FILE)
    results: dict[str, tuple[Box, ...]] = {}
    for name, image in found.images.items():
        base = PurePosixPath(name).name
        if base in results:
            raise FormatError("BAD_RESULT", f"two images are called {base}; pictures are told apart by that", _FILE)
        results[base] = tuple(map(_scored, image.boxes))
    return results


def write_segmentation(stream: IO[str], pictures: Iterable[Picture], *, class_names: Sequence[str]) -> None:
    """Writes the predictions of pictures as a COCO document; their names are those under /in/assets."""
    write_coco(stream, pictures, class_names=class_names, form=USER, boxes=lambda picture: picture.predictions)


def _kept(score: float) -> float:
    if not math.isfinite(score):
        raise ValueError("a score is not a number")
    return min(max(score, 0.0), 1.0)


def _scored(box: Box) -> Box:
    return box if box.score is not None else replace(box, score=1.0)
