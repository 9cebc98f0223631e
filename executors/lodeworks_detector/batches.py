"""Batches for training, made ahead of time by one thread, the same for the same seed."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from lodeworks_detector.augment import Augmentation, augment
from lodeworks_detector.mosaic import PARTS, mosaic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from lodeworks_detector.examples import Example, PictureCache

_AHEAD = 3

_Picture = tuple["NDArray[np.uint8]", "NDArray[np.float32]", "NDArray[np.int64]"]
"""A picture for the network, the corners of its boxes and their classes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """N pictures and their boxes, the boxes padded to the largest number M.

    Attributes:
        images: float [N, 3, H, W], RGB from 0 to 1.
        boxes: float [N, M, 4], corners in pixels of the input.
        classes: int64 [N, M].
        valid: bool [N, M], false for padding.
    """

    images: Tensor
    boxes: Tensor
    classes: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on a device."""
        return Batch(
            self.images.to(device, non_blocking=True),
            self.boxes.to(device),
            self.classes.to(device),
            self.valid.to(device),
        )


class TrainingBatches:
    """Makes the batches of an epoch from examples.

    Args:
        examples: The pictures.
        cache: Where they are kept decoded.
        size: Height and width of the network's input.
        batch_size: How many pictures are in a batch, over all processes.
        how: How far the pictures may be changed.
        seed: What chance depends on.
        mosaic_epochs: How many epochs have mosaics; those after them show pictures as a device sees them.
        rank: Which of the processes that train together this is, and how many there are: it gets its part of a batch.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        cache: PictureCache,
        size: tuple[int, int],
        batch_size: int,
        how: Augmentation,
        seed: int,
        mosaic_epochs: int = 0,
        rank: tuple[int, int] = (0, 1),
    ) -> None:
        self._examples = examples
        self._cache = cache
        self._size = size
        self._batch_size = batch_size
        self._how = how
        self._seed = seed
        self._mosaic_epochs = mosaic_epochs
        self._rank = rank

    def __len__(self) -> int:
        return len(self._split(np.arange(len(self._examples))))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yields the batches of an epoch; they depend on the seed, the epoch and the examples only."""
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._examples))
        parts = self._split(order)
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            coming: deque[Future[Batch]] = deque()
            try:
                for number, part in enumerate(parts):
                    coming.append(pool.submit(self._make, part, epoch))
                    if number >= _AHEAD:
                        yield coming.popleft().result()
                while coming:
                    yield coming.popleft().result()
            finally:
                for future in coming:
                    future.cancel()

    def _split(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        parts = [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]
        # A small rest would have batch norms of few pictures; it comes again, shuffled, in the next epoch.
        if len(parts) > 1 and len(parts[-1]) < self._batch_size / 2:
            parts.pop()
        return parts

    def _make(self, part: NDArray[np.int64], epoch: int) -> Batch:
        first, step = self._rank
        mosaics = self._how.mosaic if epoch < self._mosaic_epochs else 0.0
        images, boxes, classes = [], [], []
        for index in part[first::step].tolist():
            random = np.random.default_rng((self._seed, epoch, index))
            # Chance is asked only where there are mosaics: without them nothing else changes.
            make = self._of_four if mosaics and random.random() < mosaics else self._of_one
            canvas, corners, names = make(index, random)
            images.append(canvas)
            boxes.append(corners)
            classes.append(names)
        return _batch(images, boxes, classes)

    def _of_one(self, index: int, random: np.random.Generator) -> _Picture:
        image, boxes = self._decoded(index)
        canvas, moved, visible = augment(image, boxes, size=self._size, how=self._how, random=random)
        return canvas, moved[visible], self._examples[index].classes[visible]

    def _of_four(self, index: int, random: np.random.Generator) -> _Picture:
        chosen = [index, *random.integers(len(self._examples), size=PARTS - 1).tolist()]
        parts = [self._decoded(one) for one in chosen]
        canvas, moved, visible = mosaic(parts, size=self._size, how=self._how, random=random)
        classes = [self._examples[one].classes[seen] for one, seen in zip(chosen, visible, strict=True)]
        boxes = [corners[seen] for corners, seen in zip(moved, visible, strict=True)]
        return canvas, np.concatenate(boxes), np.concatenate(classes)

    def _decoded(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        example = self._examples[index]
        image, scale = self._cache.get(example.path)
        return image, example.boxes * np.float32(scale)


def to_input(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Returns BGR pictures of one size as the network's input: float [N, 3, H, W], RGB from 0 to 1, channels last."""
    stacked = torch.from_numpy(np.stack(images)[..., ::-1].copy())
    return stacked.permute(0, 3, 1, 2).to(torch.float32).mul_(1 / 255)


def _batch(
    images: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.float32]], classes: Sequence[NDArray[np.int64]]
) -> Batch:
    most = max(1, *(len(part) for part in boxes))
    padded = np.zeros((len(images), most, 4), dtype=np.float32)
    labels = np.zeros((len(images), most), dtype=np.int64)
    valid = np.zeros((len(images), most), dtype=np.bool_)
    for row, (part, names) in enumerate(zip(boxes, classes, strict=True)):
        padded[row, : len(part)] = part
        labels[row, : len(part)] = names
        valid[row, : len(part)] = True
    return Batch(to_input(images), torch.from_numpy(padded), torch.from_numpy(labels), torch.from_numpy(valid))
