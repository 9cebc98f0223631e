"""The labels of one picture: read from its annotation file, brought into its upright frame."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lodeworks_formats.annotations.frame import BoxProblem, fit_to_frame, swaps_sides, upright_box
from lodeworks_formats.annotations.voc import parse_voc
from lodeworks_formats.boxes import Box
from lodeworks_formats.picture_header import PictureHeader


@dataclass(frozen=True, slots=True)
class Labels:
    """Boxes in the upright frame, what was wrong with others, and words about the picture."""

    boxes: tuple[Box, ...]
    problems: tuple[BoxProblem, ...] = ()
    tags: tuple[str, ...] = ()


def voc_truth(data: bytes, header: PictureHeader) -> Labels:
    """Returns ground truth; confidences that some tools write into it are dropped. Raises FormatError."""
    found = parse_voc(data)
    labels = labels_in_frame(found.boxes, header, written=(found.width, found.height), tags=found.tags)
    return replace(labels, boxes=without_scores(labels.boxes), problems=found.problems + labels.problems)


def voc_predictions(data: bytes, header: PictureHeader) -> Labels:
    """Returns predictions; a box without a confidence is left out and named. Raises FormatError."""
    found = parse_voc(data)
    scored = [box for box in found.boxes if box.score is not None]
    labels = labels_in_frame(scored, header, written=(found.width, found.height), tags=found.tags)
    message = "a predicted box has no confidence from 0 to 1"
    bare = tuple(
        BoxProblem("NO_SCORE", message, box.class_name, (box.x, box.y, box.w, box.h))
        for box in found.boxes
        if box.score is None
    )
    return replace(labels, problems=found.problems + bare + labels.problems)


def without_scores(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Returns the boxes as ground truth, which has no scores."""
    return tuple(box if box.score is None else replace(box, score=None) for box in boxes)


def labels_in_frame(
    boxes: Iterable[Box], header: PictureHeader, *, written: tuple[int, int], tags: tuple[str, ...] = ()
) -> Labels:
    """Returns boxes in the upright frame of their picture.

    Args:
        boxes: As the file has them.
        header: Of the picture.
        written: Width and height of the frame as the file has them, 0 where it is silent.
        tags: Words about the picture.
    """
    stored, upright = (header.width, header.height), header.upright_size
    if swaps_sides(header.orientation) and written == stored and stored != upright:
        # The tool that drew these boxes ignored EXIF: its frame is the stored one.
        boxes = (upright_box(box, orientation=header.orientation, width=stored[0], height=stored[1]) for box in boxes)
    kept, problems = fit_to_frame(boxes, width=upright[0], height=upright[1])
    return Labels(kept, problems, tags)
