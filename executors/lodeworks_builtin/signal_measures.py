"""What is measured of one picture from a small grey decode: perceptual hashes, sharpness, exposure, contrast, quality.

All measures are taken on the picture shrunk to about 96 to 192 pixels on its short side, so that they compare pictures
of any size. A change of a formula is a new ALGORITHM_VERSION.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]

ALGORITHM_VERSION: Final = 1

_SHORT_SIDE: Final = 96
_SHARP: Final = 60.0
_LEVELS: Final = 255.0
_MIDDLE: Final = 0.5
_FULL_CONTRAST: Final = 0.22
_REDUCED: Final = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
)


@dataclass(frozen=True, slots=True)
class Signals:
    """The measures of one picture.

    Attributes:
        phash: 64 bits of the low frequencies (DCT); alike pictures differ in few bits.
        dhash: 64 bits of brighter or darker than the neighbour to the left.
        sharpness: Variance of the Laplacian of the shrunk picture; 0 = flat, above 100 = crisp.
        exposure: Mean brightness, 0 = black, 1 = white.
        contrast: Standard deviation of brightness, 0 to 0.5.
        quality: 0 to 1: the geometric mean of how sharp, how well exposed and how rich in contrast it is.
    """

    phash: int
    dhash: int
    sharpness: float
    exposure: float
    contrast: float
    quality: float


def measure(data: bytes, *, width: int, height: int) -> Signals | None:
    """Returns the measures of an encoded picture of that size, or None when it cannot be decoded."""
    grey = _decode(data, short_side=min(width, height))
    if grey is None or not grey.size:
        return None
    side = min(grey.shape)
    if side > 2 * _SHORT_SIDE:
        scale = _SHORT_SIDE / side
        grey = np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mean, deviation = cv2.meanStdDev(grey)
    exposure, contrast = float(mean[0, 0]) / _LEVELS, float(deviation[0, 0]) / _LEVELS
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    return Signals(
        phash=_phash(grey),
        dhash=_dhash(grey),
        sharpness=sharpness,
        exposure=exposure,
        contrast=contrast,
        quality=_quality(sharpness, exposure, contrast),
    )


def _decode(data: bytes, *, short_side: int) -> Grey | None:
    flag = next((flag for scale, flag in _REDUCED if short_side >= scale * _SHORT_SIDE), cv2.IMREAD_GRAYSCALE)
    try:
        found = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag)
    except cv2.error:
        return None
    return None if found is None else np.asarray(found, dtype=np.uint8)


def _phash(grey: Grey) -> int:
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    low[0] = 0.0  # the mean brightness says nothing about what is to be seen
    return _bits(low > np.median(low[1:]))


def _dhash(grey: Grey) -> int:
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return _bits((small[:, 1:] > small[:, :-1]).ravel())


def _bits(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags).tobytes(), "big")


def _quality(sharpness: float, exposure: float, contrast: float) -> float:
    sharp = sharpness / (sharpness + _SHARP)
    exposed = max(0.0, 1.0 - (abs(exposure - _MIDDLE) / _MIDDLE) ** 2)
    rich = min(1.0, contrast / _FULL_CONTRAST)
    return float((sharp * exposed * rich) ** (1 / 3))
