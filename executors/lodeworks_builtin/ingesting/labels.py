"""The labels of one picture: read from its annotation file, brought into its upright frame."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from lodeworks_formats.annotations.frame import BoxProblem, fit_to_frame, swaps_sides, upright_box
from lodeworks_formats.annotations.voc import parse_voc
from lodeworks_formats.boxes import Box
from lodeworks_formats.picture_header import PictureHeader
from lodeworks_formats.pictures import Picture


@dataclass(frozen=True, slots=True)
class Labels:
    """Boxes in the upright frame, what was wrong with others, words about the picture, a note for the report.

    `file` is where they come from, "" for the picture's own annotation file.
    """

    boxes: tuple[Box, ...]
    problems: tuple[BoxProblem, ...] = ()
    tags: tuple[str, ...] = ()
    note: str = ""
    file: str = ""


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
    more: tuple[BoxProblem, ...] = ()
    if swaps_sides(header.orientation) and written == stored and stored != upright:
        # The tool that drew these boxes ignored EXIF: its frame is the stored one.
        drawn = list(boxes)
        boxes = [upright_box(box, orientation=header.orientation, width=stored[0], height=stored[1]) for box in drawn]
        more = tuple(_lost_shapes(drawn, boxes))
    kept, problems = fit_to_frame(boxes, width=upright[0], height=upright[1])
    note = "" if not all(written) or written in (stored, upright) else _differs(written, upright)
    return Labels(kept, more + problems, tags, note)


def _lost_shapes(before: Iterable[Box], after: Iterable[Box]) -> Iterator[BoxProblem]:
    message = "the mask of the box has another size than its picture and was dropped; the box was kept"
    for drawn, turned in zip(before, after, strict=True):
        if drawn.shape is not None and turned.shape is None:
            yield BoxProblem("SHAPE_DROPPED", message, drawn.class_name, (drawn.x, drawn.y, drawn.w, drawn.h))


def _differs(written: tuple[int, int], found: tuple[int, int]) -> str:
    return (
        f"its boxes were drawn on {written[0]} x {written[1]} and the picture has {found[0]} x {found[1]};"
        " they were taken as they are: make sure that the picture was not resized"
    )


def header_of(picture: Picture) -> PictureHeader:
    """Returns what the header of a picture says that is known already."""
    swapped = swaps_sides(picture.orientation)
    stored = (picture.height, picture.width) if swapped else (picture.width, picture.height)
    return PictureHeader(picture.extension, *stored, picture.orientation, picture.channels)


class ClassNames:
    """Gives boxes the class names that the import was told to use, and counts what it changed.

    Args:
        wanted: Name in the source → name to use; "" leaves boxes of the class out. Letters compare without case.
    """

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self.counts: dict[str, int] = dict.fromkeys(wanted, 0)
        self._wanted = {_fold(old): (old, new) for old, new in wanted.items()}

    def apply(self, labels: Labels | None, *, counted: bool = True) -> Labels | None:
        """Returns the labels with their new names; those that were counted before are not counted again."""
        if labels is None or not self._wanted:
            return labels
        boxes, problems = [], []
        for box in labels.boxes:
            old, new = self._wanted.get(_fold(box.class_name), ("", box.class_name))
            if old and counted:
                self.counts[old] += 1
            if new:
                boxes.append(box if new == box.class_name else replace(box, class_name=new))
            else:
                message = "the import was told to leave this class out"
                edges = (box.x, box.y, box.w, box.h)
                problems.append(BoxProblem("CLASS_LEFT_OUT", message, box.class_name, edges))
        return replace(labels, boxes=tuple(boxes), problems=(*labels.problems, *problems))


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
