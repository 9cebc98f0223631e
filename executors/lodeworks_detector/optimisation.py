"""How the weights move: AdamW, warm-up, cosine, and their running mean."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lodeworks_detector.network import Detector

_WEIGHT_DECAY = 0.05
_FINAL_SHARE = 0.02
_LONGEST_MEAN = 0.998


def make_optimizer(model: Detector, *, learning_rate: float) -> torch.optim.AdamW:
    """Returns AdamW that decays the matrices and spares biases and norms."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": _WEIGHT_DECAY},
            {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=learning_rate,
        fused=True,
    )


def learning_rate_at(step: int, *, steps: int, warm_up: int, peak: float) -> float:
    """Returns the learning rate of a step: linear up, then half a cosine down to a fiftieth."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return peak * (_FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


class RunningMean:
    """The exponential mean of the weights, which is what gets measured and exported."""

    def __init__(self, model: Detector) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.updates = 0

    @torch.no_grad()
    def update(self, model: Detector) -> None:
        """Moves the mean towards the model; it follows closely at first."""
        self.updates += 1
        keep = min(_LONGEST_MEAN, (1 + self.updates) / (10 + self.updates))
        mean, new = [], []
        for ours, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if ours.dtype.is_floating_point:
                mean.append(ours)
                new.append(theirs)
            else:
                ours.copy_(theirs)
        torch._foreach_lerp_(mean, new, 1 - keep)
