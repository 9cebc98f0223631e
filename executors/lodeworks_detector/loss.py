"""Which places learn which box (task-aligned assignment), and how wrong the network is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from lodeworks_detector.batches import Batch
    from lodeworks_detector.network import Prediction

_TOP = 10
_SCORE_POWER = 0.5
_IOU_POWER = 6
_BOX_WEIGHT = 2.5
_EPSILON = 1e-9
_TINY = 1e-20


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss of a batch and its two parts; `total` carries the gradient."""

    total: Tensor
    classes: Tensor
    boxes: Tensor


@dataclass(slots=True)
class EpochLosses:
    """The mean losses of an epoch."""

    total: float = 0.0
    classes: float = 0.0
    boxes: float = 0.0
    steps: int = field(default=0, repr=False)

    def add(self, total: float, classes: float, boxes: float) -> None:
        """Takes in one batch."""
        self.steps += 1
        self.total += (total - self.total) / self.steps
        self.classes += (classes - self.classes) / self.steps
        self.boxes += (boxes - self.boxes) / self.steps


@dataclass(frozen=True, slots=True)
class Assignment:
    """What each place shall learn.

    Attributes:
        box: int64 [N, A], position of the box of this place; any number where nothing is to be learnt.
        positive: bool [N, A].
        score: float [N, A], the soft target of the class, 0 to 1.
        weight: float [N, A], how much the place counts for the box.
    """

    box: Tensor
    positive: Tensor
    score: Tensor
    weight: Tensor


def _alone(values: Tensor) -> Tensor:
    return values


def detection_loss(
    prediction: Prediction, batch: Batch, *, floor: float, add_up: Callable[[Tensor], Tensor] = _alone
) -> Losses:
    """Returns BCE over the sum of the soft targets plus 2.5 times weighted GIoU.

    Where several processes share a batch, the sum of their losses is the loss of the batch.

    Args:
        prediction: what the network said.
        batch: what is there.
        floor: least soft target of the best place of a box, 0 to 1; it keeps boxes with tiny overlaps learning.
        add_up: sums over all processes that share the batch.
    """
    assigned = assign(prediction, batch, floor=floor)
    taken = batch.classes.gather(1, assigned.box)
    target = torch.zeros_like(prediction.logits)
    target.scatter_(2, taken.unsqueeze(-1), (assigned.score * assigned.positive).unsqueeze(-1))
    positive = assigned.positive
    weight = assigned.weight[positive]
    whole, weights = add_up(torch.stack((target.sum(), weight.sum()))).clamp(min=1.0)
    classes = functional.binary_cross_entropy_with_logits(prediction.logits, target, reduction="sum") / whole
    wanted = batch.boxes.gather(1, assigned.box.unsqueeze(-1).expand(-1, -1, 4))[positive]
    distance = 1 - generalised_iou(prediction.boxes[positive], wanted)
    boxes = (distance * weight).sum() / weights
    return Losses(classes + _BOX_WEIGHT * boxes, classes.detach(), boxes.detach())


@torch.no_grad()
def assign(prediction: Prediction, batch: Batch, *, floor: float) -> Assignment:
    """Returns the places that learn each box: the ten best aligned in class and place, inside the box."""
    inside = _inside(prediction, batch)
    overlap = pairwise_iou(batch.boxes, prediction.boxes) * inside
    scores = prediction.logits.sigmoid().transpose(1, 2)
    score = scores.gather(1, batch.classes.unsqueeze(-1).expand(-1, -1, scores.shape[2]))
    metric = (score + 1e-4) ** _SCORE_POWER * (overlap + 1e-2) ** _IOU_POWER * inside
    best = metric.topk(min(_TOP, metric.shape[2]), dim=2).indices
    chosen = torch.zeros_like(inside).scatter_(2, best, value=True) & inside
    # A place inside several boxes learns the one that it overlaps most.
    strongest, box = torch.where(chosen, overlap, -1.0).max(1)
    positive = strongest >= 0
    owner = functional.one_hot(box, metric.shape[1]).transpose(1, 2).bool() & chosen
    metric = metric * owner
    top_metric = metric.amax(2, keepdim=True)
    top_overlap = (overlap * owner).amax(2, keepdim=True)
    # The sixth power makes metrics as small as 1e-14: a larger guard would swallow them.
    share = metric / top_metric.clamp(min=_TINY)
    weight = share.gather(1, box.unsqueeze(1)).squeeze(1)
    soft = (share * top_overlap.clamp(min=floor)).gather(1, box.unsqueeze(1)).squeeze(1)
    return Assignment(box, positive, soft, weight)


def _inside(prediction: Prediction, batch: Batch) -> Tensor:
    """Returns bool [N, M, A]: whether a place lies in a box. A box smaller than a cell is widened to hold one."""
    low, high = batch.boxes[..., :2], batch.boxes[..., 2:]
    centre, half = (low + high) / 2, (high - low) / 2
    half = half.clamp(min=float(prediction.strides.min()) / 2 + 0.01)
    offset = (prediction.centres[None, None] - centre.unsqueeze(2)).abs()
    return (offset < half.unsqueeze(2)).all(-1) & batch.valid.unsqueeze(-1)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Returns [N, M, A], the overlap of boxes [N, M, 4] with boxes [N, A, 4]."""
    left, right = first.unsqueeze(2), second.unsqueeze(1)
    sides = (torch.minimum(left[..., 2:], right[..., 2:]) - torch.maximum(left[..., :2], right[..., :2])).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    return shared / (_area(left) + _area(right) - shared + _EPSILON)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Returns [K], GIoU of boxes [K, 4] with boxes [K, 4], from -1 to 1."""
    sides = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    shared = sides[:, 0] * sides[:, 1]
    union = _area(first) + _area(second) - shared + _EPSILON
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    around = hull[:, 0] * hull[:, 1] + _EPSILON
    return shared / union - (around - union) / around


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
