"""Pictures: one asset with what is known about it, as views, exchange forms and inference results carry it.

Picture(digest, extension, width, height, orientation=1, channels=3, size_bytes=0, names=(), tags=(), split=None,
        boxes=None, predictions=None, derived_digest=None)
picture.hash_name -> "<digest>.<extension>"     picture.upright_name -> name of the upright file in /in/assets
check_picture(picture) raises FormatError for what no honest program writes
"""

import math
import re
from dataclasses import dataclass

from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError

EXTENSIONS = ("jpg", "png", "bmp", "webp", "tiff")
"""Every extension a picture may have, chosen by its content."""

NEEDS_DERIVED = ("webp", "tiff")
"""Formats that executors do not get as they are."""

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ORIENTATIONS = range(1, 9)
_TOLERANCE_PX = 1.01


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and its annotations.

    Attributes:
        digest: sha256 of the original bytes, 64 lower-case hex digits.
        extension: One of EXTENSIONS, from the content.
        width: Pixels, upright.
        height: Pixels, upright.
        orientation: The EXIF orientation of the original bytes, 1 to 8.
        channels: Colour channels of the original.
        size_bytes: Size of the original bytes.
        names: Original names; an identical picture keeps each of its names.
        tags: Words about the picture.
        split: Name of the part (train, val, …) that the source put it in.
        boxes: Ground truth; None = not annotated, () = annotated and empty.
        predictions: Boxes with scores; None = no prediction, () = predicted and found nothing.
        derived_digest: sha256 of the upright jpg or png blob for orientation ≠ 1, webp and tiff.
    """

    digest: str
    extension: str
    width: int
    height: int
    orientation: int = 1
    channels: int = 3
    size_bytes: int = 0
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    split: str | None = None
    boxes: tuple[Box, ...] | None = None
    predictions: tuple[Box, ...] | None = None
    derived_digest: str | None = None

    @property
    def hash_name(self) -> str:
        """The base name of the original."""
        return f"{self.digest}.{self.extension}"

    @property
    def upright_extension(self) -> str:
        """The extension of what executors see: jpg, png or bmp."""
        if self.derived_digest is None:
            return self.extension
        return "jpg" if self.extension == "jpg" else "png"

    @property
    def upright_name(self) -> str:
        """The base name under /in/assets: the original's digest, the extension of the upright blob."""
        return f"{self.digest}.{self.upright_extension}"

    @property
    def upright_digest(self) -> str:
        """The digest of the blob that executors and annotators see."""
        return self.derived_digest or self.digest


def check_picture(picture: Picture) -> None:
    """Refuses a picture that breaks a promise of this module.

    Raises:
        FormatError: BAD_DIGEST, BAD_PICTURE, BAD_BOX or BAD_SCORE, with the picture's digest as its file.
    """
    if not _DIGEST.match(picture.digest):
        raise FormatError("BAD_DIGEST", "the digest is not 64 lower-case hex digits", picture.digest[:80])
    if picture.derived_digest is not None and not _DIGEST.match(picture.derived_digest):
        raise FormatError("BAD_DIGEST", "the derived digest is not 64 lower-case hex digits", picture.digest)
    if picture.extension not in EXTENSIONS or picture.orientation not in _ORIENTATIONS:
        raise FormatError("BAD_PICTURE", "the extension or the orientation is unknown", picture.digest)
    if picture.width < 1 or picture.height < 1 or picture.size_bytes < 0:
        raise FormatError("BAD_PICTURE", "width, height and size must be positive", picture.digest)
    for box in picture.boxes or ():
        _check_box(box, picture)
    for box in picture.predictions or ():
        _check_box(box, picture)
        if box.score is None:
            raise FormatError("BAD_SCORE", "a prediction has no score", picture.digest)


def _check_box(box: Box, picture: Picture) -> None:
    if not box.class_name or box.class_name != box.class_name.strip():
        raise FormatError("BAD_BOX", "a box has no class name, or one with blanks around it", picture.digest)
    if not all(map(math.isfinite, (box.x, box.y, box.w, box.h, box.rotation))):
        raise FormatError("BAD_BOX", "a box has an edge that is not a number", picture.digest)
    if box.w <= 0 or box.h <= 0:
        raise FormatError("BAD_BOX", "a box has no area", picture.digest)
    inside = (
        box.x >= -_TOLERANCE_PX
        and box.y >= -_TOLERANCE_PX
        and box.x2 <= picture.width + _TOLERANCE_PX
        and box.y2 <= picture.height + _TOLERANCE_PX
    )
    if not inside and box.rotation == 0.0:
        raise FormatError("BAD_BOX", "a box lies more than 1 px outside its picture", picture.digest)
    if box.score is not None and not 0.0 <= box.score <= 1.0:
        raise FormatError("BAD_SCORE", "a score is not between 0 and 1", picture.digest)
