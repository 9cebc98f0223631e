"""The blocks that the network is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class ConvUnit(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, activation: type[nn.Module] = nn.ReLU
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.activation = activation(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Returns features [N, outputs, H / stride, W / stride]."""
        return cast("Tensor", self.activation(self.norm(self.conv(features))))


class Residual(nn.Module):
    """A pair of 3×3 units, added to its input."""

    def __init__(self, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.first = ConvUnit(width, width)
        self.second = ConvUnit(width, width)
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """Returns features of the same shape."""
        out = cast("Tensor", self.second(self.first(features)))
        return features + out if self.shortcut else out


class CspStage(nn.Module):
    """Two branches of half width, one through residual pairs, joined again."""

    def __init__(self, inputs: int, outputs: int, *, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.deep = ConvUnit(inputs, half, kernel=1)
        self.short = ConvUnit(inputs, half, kernel=1)
        self.pairs = nn.Sequential(*(Residual(half, shortcut=shortcut) for _ in range(depth)))
        self.join = ConvUnit(2 * half, outputs, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """Returns features [N, outputs, H, W]."""
        return cast("Tensor", self.join(torch.cat((self.pairs(self.deep(features)), self.short(features)), 1)))


class SpatialPool(nn.Module):
    """Max pools of growing reach side by side (SPPF)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = ConvUnit(width, width // 2, kernel=1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = ConvUnit(width // 2 * 4, width, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """Returns features of the same shape."""
        reaches = [self.reduce(features)]
        for _ in range(3):
            reaches.append(self.pool(reaches[-1]))
        return cast("Tensor", self.join(torch.cat(reaches, 1)))
