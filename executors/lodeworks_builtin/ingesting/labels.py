"""The labels of one picture: read from its annotation file, brought into its upright frame."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lodeworks_formats.annotations.frame import BoxProblem, fit_to_frame, swaps_sides, upright_box
from lodeworks_formats.annotations.voc import VocAnnotation, parse_voc
from lodeworks_formats.boxes import Box
from lodeworks_formats.picture_header import PictureHeader


@dataclass(frozen=True, slots=True)
class Labels:
    """Boxes in the upright frame, what was wrong with others, and words about the picture."""

    boxes: tuple[Box, ...]
    problems: tuple[BoxProblem, ...] = ()
    tags: tuple[str, ...] = ()
    frame: tuple[int, int] = (0, 0)


def voc_truth(data: bytes, header: PictureHeader) -> Labels:
    """Returns ground truth; confidences that some tools write into it are dropped. Raises FormatError."""
    annotation = parse_voc(data)
    return _labels(
        annotation, header, (box if box.score is None else replace(box, score=None) for box in annotation.boxes)
    )


def voc_predictions(data: bytes, header: PictureHeader) -> Labels:
    """Returns predictions; a box without a confidence is left out and named. Raises FormatError."""
    annotation = parse_voc(data)
    labels = _labels(annotation, header, (box for box in annotation.boxes if box.score is not None))
    bare = tuple(
        BoxProblem(
            "NO_SCORE", "a predicted box has no confidence from 0 to 1", box.class_name, (box.x, box.y, box.w, box.h)
        )
        for box in annotation.boxes
        if box.score is None
    )
    return replace(labels, problems=labels.problems + bare)


def _labels(annotation: VocAnnotation, header: PictureHeader, boxes: Iterable[Box]) -> Labels:
    stored, upright = (header.width, header.height), header.upright_size
    written = (annotation.width, annotation.height)
    if swaps_sides(header.orientation) and written == stored and stored != upright:
        # The tool that drew these boxes ignored EXIF: its frame is the stored one.
        boxes = (upright_box(box, orientation=header.orientation, width=stored[0], height=stored[1]) for box in boxes)
    kept, problems = fit_to_frame(boxes, width=upright[0], height=upright[1])
    return Labels(kept, annotation.problems + problems, annotation.tags, written)
