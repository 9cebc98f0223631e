"""A loaded algorithm: pictures in, boxes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from lodeworks_formats.boxes import Box

from lodeworks_runtime.decoders.base import RawOutputs
from lodeworks_runtime.detections import Detections, select
from lodeworks_runtime.picture import decode_picture
from lodeworks_runtime.recipe import Preparer, Recipe, Thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks_formats.package import PackageManifest
    from numpy.typing import NDArray

    from lodeworks_runtime.backend import Backend
    from lodeworks_runtime.decoders.base import Decoder
    from lodeworks_runtime.letterbox import Letterbox


class Algorithm:
    """One network with everything that belongs to it. Not for several threads at once: its buffers are reused."""

    def __init__(
        self,
        *,
        recipe: Recipe,
        backend: Backend,
        decoder: Decoder,
        manifest: PackageManifest | None = None,
    ) -> None:
        self.recipe = recipe
        self.manifest = manifest
        self._backend = backend
        self._decoder = decoder
        self._prepare = Preparer(recipe)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the network's order."""
        return self.recipe.classes

    @property
    def runtime(self) -> tuple[str, str]:
        """The name and version of what runs the network."""
        return self._backend.runtime, self._backend.version

    def prepare(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Letterbox]:
        """Returns the network's input for a picture [H, W, 3] (own copy) and where the picture lies in it."""
        blob, placement = self._prepare(image)
        return blob.copy(), placement

    def raw(self, image: NDArray[np.uint8]) -> tuple[RawOutputs, Letterbox]:
        """Returns the raw outputs of one picture, valid until the next call, and where it lies in the input."""
        blob, placement = self._prepare(image)
        return self._decoder.decode(self._backend.run(blob), recipe=self.recipe), placement

    def run_input(self, blob: NDArray[np.float32]) -> RawOutputs:
        """Returns the raw outputs of a prepared input [1, 3, H, W], valid until the next call."""
        return self._decoder.decode(self._backend.run(blob), recipe=self.recipe)

    def detect(
        self, image: NDArray[np.uint8], *, score: float | None = None, thresholds: Thresholds | None = None
    ) -> Detections:
        """Returns the boxes of one picture as arrays, corners in pixels of the picture.

        `score` replaces the algorithm's own threshold, `thresholds` all of them.
        """
        outputs, placement = self.raw(image)
        return self.pick(outputs, placement, score=score, thresholds=thresholds)

    def pick(
        self,
        outputs: RawOutputs,
        placement: Letterbox,
        *,
        score: float | None = None,
        thresholds: Thresholds | None = None,
    ) -> Detections:
        """Returns the boxes that the raw outputs of one picture hold, as `detect` does."""
        chosen = thresholds or self.recipe.thresholds
        if score is not None:
            chosen = Thresholds(
                score=score,
                nms_iou=chosen.nms_iou,
                max_detections=chosen.max_detections,
                candidates=chosen.candidates,
            )
        found = select(outputs.scores[0], outputs.boxes[0], thresholds=chosen)
        corners = placement.to_picture(found.corners)
        inside = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        return Detections(
            corners=corners[inside],
            scores=found.scores[inside],
            classes=found.classes[inside],
            places=found.places[inside],
        )

    def boxes(self, found: Detections) -> list[Box]:
        """Returns detections as boxes with class names, in the same order."""
        names = self.recipe.classes
        corners = found.corners.astype(np.float64).tolist()
        return [
            Box(class_name=names[place], x=x1, y=y1, w=x2 - x1, h=y2 - y1, score=score)
            for (x1, y1, x2, y2), score, place in zip(
                corners, found.scores.astype(np.float64).tolist(), found.classes.tolist(), strict=True
            )
        ]

    def predict(self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None) -> list[list[Box]]:
        """Returns for each picture (uint8 [H, W, 3], blue first, upright) its boxes in falling order of score."""
        return [self.boxes(self.detect(image, score=score)) for image in images]

    def predict_bytes(self, data: bytes | bytearray | memoryview, *, score: float | None = None) -> list[Box]:
        """Returns the boxes of an encoded picture; raises PictureError when it cannot be decoded."""
        return self.boxes(self.detect(decode_picture(data), score=score))

    def outputs(self, images: Sequence[NDArray[np.uint8]]) -> RawOutputs:
        """Returns the raw outputs of N pictures, own copies."""
        each = [_copy(self.raw(image)[0]) for image in images]
        if not each:
            raise ValueError("no picture was given")
        return RawOutputs(
            scores=np.concatenate([one.scores for one in each]),
            boxes=np.concatenate([one.boxes for one in each]),
            embedding=np.concatenate([one.embedding for one in each]),
        )

    def close(self) -> None:
        """Lets go of the network's memory; the algorithm cannot be used afterwards."""
        self._backend.close()


def _copy(raw: RawOutputs) -> RawOutputs:
    return RawOutputs(scores=raw.scores.copy(), boxes=raw.boxes.copy(), embedding=raw.embedding.copy())
