"""Boxes: the one shape in which every program of Lodeworks holds an annotation or a prediction.

Coordinates are half-open floats in pixels of the picture's frame AFTER its EXIF orientation was applied: a box covers
x ≤ column < x + w. How file formats count (VOC's inclusive corners, YOLO's shares) stays in `annotations/`.

    Box(class_name, x, y, w, h, score=None, rotation=0.0, box_quality=None, tags=(), attributes={},
        crowd=False, difficult=False, shape=None)
    box.x2, box.y2, box.area, box.clip(width=, height=), box.scale(factor_x=, factor_y=), iou(a, b)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lodeworks_formats.outlines import scale_outline

MAX_CLASS_NAME = 200
"""Characters of the longest class name that is taken in."""


@dataclass(frozen=True, slots=True)
class Box:
    """One object in one picture.

    Attributes:
        class_name: The exact name as written by its source; aliases are resolved by the catalogue, never here.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        w: Width in pixels.
        h: Height in pixels.
        score: Confidence of a prediction, 0 to 1; None for ground truth.
        rotation: Angle in radians, clockwise, about the centre.
        box_quality: The annotator's judgement of the box, 0 to 1; None when nobody judged.
        tags: Free words about this box.
        attributes: Named values about this box.
        crowd: A region of many objects (COCO's iscrowd).
        difficult: Marked as hard by the annotator (VOC's difficult).
        shape: Polygons or RLE as JSON text, for segmentation; `outlines` reads it.
    """

    class_name: str
    x: float
    y: float
    w: float
    h: float
    score: float | None = None
    rotation: float = 0.0
    box_quality: float | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    crowd: bool = False
    difficult: bool = False
    shape: str | None = None

    @property
    def x2(self) -> float:
        """The right edge, outside the box."""
        return self.x + self.w

    @property
    def y2(self) -> float:
        """The lower edge, outside the box."""
        return self.y + self.h

    @property
    def area(self) -> float:
        """The area in square pixels."""
        return self.w * self.h

    def clip(self, *, width: int, height: int) -> "Box":
        """Returns the part of the box inside a frame; its area may be zero."""
        x1, y1 = min(max(self.x, 0.0), width), min(max(self.y, 0.0), height)
        x2, y2 = min(max(self.x2, 0.0), width), min(max(self.y2, 0.0), height)
        if (x1, y1, x2, y2) == (self.x, self.y, self.x2, self.y2):
            return self
        return replace(self, x=x1, y=y1, w=x2 - x1, h=y2 - y1)

    def scale(self, *, factor_x: float, factor_y: float) -> "Box":
        """Returns the box, with its outline, in a frame resized by these factors; FormatError for a broken outline."""
        shape = None if self.shape is None else scale_outline(self.shape, factor_x=factor_x, factor_y=factor_y)
        x, y, w, h = self.x * factor_x, self.y * factor_y, self.w * factor_x, self.h * factor_y
        return replace(self, x=x, y=y, w=w, h=h, shape=shape)


def iou(a: Box, b: Box) -> float:
    """Returns intersection over union of two upright boxes, 0 when they do not touch."""
    w = min(a.x2, b.x2) - max(a.x, b.x)
    h = min(a.y2, b.y2) - max(a.y, b.y)
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (a.area + b.area - w * h)
