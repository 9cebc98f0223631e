"""The pictures of a view as executors get them: upright, jpg, png or bmp, scaled when the training asks for it."""

from dataclasses import replace
from pathlib import Path

from lodeworks_formats.pictures import NEEDS_DERIVED, Picture

from lodeworks_worker.errors import InputError
from lodeworks_worker.staging.place import place

_JPEG_QUALITY = 95


def asset_name(picture: Picture) -> str:
    """Returns the base name under /in/assets: the original's digest and the extension of what lies there."""
    if picture.derived_digest is None and picture.extension in NEEDS_DERIVED:
        return f"{picture.digest}.png"
    return picture.upright_name


def scaled(picture: Picture, *, longest_side_px: int) -> Picture:
    """Returns the picture as it is after longest-side scaling, its boxes with it; never larger than it was."""
    longest = max(picture.width, picture.height)
    if longest_side_px <= 0 or longest <= longest_side_px:
        return picture
    width = max(1, round(picture.width * longest_side_px / longest))
    height = max(1, round(picture.height * longest_side_px / longest))
    factor_x, factor_y = width / picture.width, height / picture.height
    boxes = picture.boxes
    if boxes is not None:
        boxes = tuple(box.scale(factor_x=factor_x, factor_y=factor_y) for box in boxes)
    return replace(picture, width=width, height=height, boxes=boxes)


def place_picture(
    picture: Picture, *, source: Path, target: Path, read_only_in: bool, size_px: tuple[int, int] | None = None
) -> None:
    """Puts a picture into /in.

    Args:
        picture: As the view has it.
        source: The cached blob of `picture.upright_digest`.
        target: Where it goes, named by `asset_name`.
        read_only_in: Whether the executor cannot write to /in.
        size_px: Width and height to scale to; None keeps the size.

    Raises:
        InputError: The blob is no picture.
    """
    made_upright = picture.derived_digest is None and (picture.orientation != 1 or picture.extension in NEEDS_DERIVED)
    if not made_upright and size_px is None:
        place(source, target, read_only_in=read_only_in)
        return
    _redraw(source, target, size_px)


def _redraw(source: Path, target: Path, size_px: tuple[int, int] | None) -> None:
    # Only trainings with odd pictures come here: an idle worker stays small without OpenCV.
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    image = cv2.imdecode(np.fromfile(source, np.uint8), cv2.IMREAD_COLOR)  # applies the EXIF orientation
    if image is None:
        raise InputError(f"picture {source.name} cannot be decoded; remove it from the dataset")
    if size_px is not None and (image.shape[1], image.shape[0]) != size_px:
        image = cv2.resize(image, size_px, interpolation=cv2.INTER_AREA)
    fine, data = cv2.imencode(target.suffix, image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not fine:
        raise InputError(f"picture {source.name} cannot be encoded as {target.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data.tobytes())
