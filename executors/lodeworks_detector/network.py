"""The network: anchor-free, three strides, boxes decoded inside."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional

from lodeworks_detector.blocks import ConvUnit, CspStage, SpatialPool

if TYPE_CHECKING:
    from torch import Tensor

STRIDES = (8, 16, 32)
_WIDTHS = (16, 32, 64, 128, 192)
_DEPTHS = (1, 1, 2, 1)
_NECK = 64
_CLASS_BIAS = -4.6
_BOX_BIAS = 2.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How wide and deep a network is; 1 and 1 is the small default of about 1.3 million parameters."""

    width: float = 1.0
    depth: float = 1.0

    def channels(self, base: int) -> int:
        """Returns a number of channels scaled by the width, a multiple of 8."""
        return max(8, round(base * self.width / 8) * 8)

    def repeats(self, base: int) -> int:
        """Returns a number of blocks scaled by the depth."""
        return max(1, round(base * self.depth))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network says before any threshold.

    Attributes:
        logits: [N, A, C], one column a class, before the sigmoid.
        boxes: [N, A, 4], corners in pixels of the network's input.
        embedding: [N, D], the mean of the deepest features.
        centres: [A, 2], where the A places lie.
        strides: [A], the stride of each place.
    """

    logits: Tensor
    boxes: Tensor
    embedding: Tensor
    centres: Tensor
    strides: Tensor


class Backbone(nn.Module):
    """From the picture to features at strides 8, 16 and 32."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        stem, *widths = (shape.channels(width) for width in _WIDTHS)
        self.stem = ConvUnit(3, stem, stride=2)
        stages, before = [], stem
        for width, depth in zip(widths, _DEPTHS, strict=True):
            down = ConvUnit(before, width, stride=2)
            stages.append(nn.Sequential(down, CspStage(width, width, depth=shape.repeats(depth))))
            before = width
        self.stages = nn.ModuleList(stages)
        self.pool = SpatialPool(before)
        self.widths = tuple(widths[1:])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the features of three strides."""
        features = self.stem(images)
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found[1], found[2], self.pool(found[3])


class Neck(nn.Module):
    """Mixes the strides: deep to shallow (FPN), then shallow to deep (PAN)."""

    def __init__(self, shape: Shape, inputs: tuple[int, ...]) -> None:
        super().__init__()
        width = shape.channels(_NECK)
        depth = shape.repeats(1)
        self.lateral = nn.ModuleList(ConvUnit(channels, width, kernel=1) for channels in inputs)
        self.up_16 = CspStage(2 * width, width, depth=depth, shortcut=False)
        self.up_8 = CspStage(2 * width, width, depth=depth, shortcut=False)
        self.down_16 = ConvUnit(width, width, stride=2)
        self.out_16 = CspStage(2 * width, width, depth=depth, shortcut=False)
        self.down_32 = ConvUnit(width, width, stride=2)
        self.out_32 = CspStage(2 * width, width, depth=depth, shortcut=False)
        self.width = width

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns features of one width at the three strides."""
        at_8, at_16, at_32 = (unit(level) for unit, level in zip(self.lateral, features, strict=True))
        up_16 = self.up_16(torch.cat((_double(at_32), at_16), 1))
        out_8 = self.up_8(torch.cat((_double(up_16), at_8), 1))
        out_16 = self.out_16(torch.cat((self.down_16(out_8), up_16), 1))
        out_32 = self.out_32(torch.cat((self.down_32(out_16), at_32), 1))
        return out_8, out_16, out_32


class Head(nn.Module):
    """Two branches at one stride: the classes, and the distances to the four sides."""

    def __init__(self, width: int, *, classes: int) -> None:
        super().__init__()
        # SiLU here and ReLU in the body: pure ReLU loses the rare class, full SiLU halves what INT8 gains.
        self.class_conv = ConvUnit(width, width, activation=nn.SiLU)
        self.class_out = nn.Conv2d(width, classes, 1)
        self.box_conv = ConvUnit(width, width, activation=nn.SiLU)
        self.box_out = nn.Conv2d(width, 4, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits [N, classes, H, W] and raw distances [N, 4, H, W]."""
        return self.class_out(self.class_conv(features)), self.box_out(self.box_conv(features))


class Detector(nn.Module):
    """The whole network. Input: float [N, 3, H, W], RGB from 0 to 1, both sides multiples of 32."""

    def __init__(self, *, classes: int, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape or Shape()
        self.classes = classes
        self.backbone = Backbone(self.shape)
        self.neck = Neck(self.shape, self.backbone.widths)
        self.heads = nn.ModuleList(Head(self.neck.width, classes=classes) for _ in STRIDES)
        self._start()

    def forward(self, images: Tensor) -> Prediction:
        """Returns what the network says of a batch."""
        features = self.backbone(images)
        levels = self.neck(features)
        logits, boxes, centres, strides = [], [], [], []
        for head, level, stride in zip(self.heads, levels, STRIDES, strict=True):
            class_map, box_map = head(level)
            places = cell_centres(level.shape[-2], level.shape[-1], stride=stride, device=level.device)
            # Distances in float32 even under autocast: half precision has no half pixel beyond 1,024.
            distances = functional.softplus(box_map.flatten(2).transpose(1, 2).float()) * stride
            logits.append(class_map.flatten(2).transpose(1, 2).float())
            boxes.append(torch.cat((places - distances[..., :2], places + distances[..., 2:]), -1))
            centres.append(places)
            strides.append(places.new_full((len(places),), stride))
        return Prediction(
            torch.cat(logits, 1),
            torch.cat(boxes, 1),
            features[2].mean((2, 3)).float(),
            torch.cat(centres),
            torch.cat(strides),
        )

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for head in self.heads:
            for layer, bias in ((cast("Head", head).class_out, _CLASS_BIAS), (cast("Head", head).box_out, _BOX_BIAS)):
                nn.init.normal_(layer.weight, std=0.01)
                assert layer.bias is not None
                nn.init.constant_(layer.bias, bias)


def cell_centres(height: int, width: int, *, stride: int, device: torch.device) -> Tensor:
    """Returns the centres [height · width, 2] of the cells of a level, (x, y) in pixels, row by row."""
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * stride
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) * stride
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), -1)


class FusedCopy:
    """A copy for inference whose batch norms are folded into their convolutions, refreshed when the weights move."""

    def __init__(self, model: Detector) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        for unit in _units(self.model):
            bias = torch.zeros(unit.conv.out_channels, device=unit.conv.weight.device)
            unit.conv.bias = nn.Parameter(bias, requires_grad=False)
            unit.norm = nn.Identity()
        self.refresh(model)

    @torch.no_grad()
    def refresh(self, model: Detector) -> Detector:
        """Takes over the weights of the model it was made of, and returns the copy."""
        ours = self.model.state_dict()
        for name, value in model.state_dict().items():
            if name in ours:
                ours[name].copy_(value)
        for unit, fused in zip(_units(model), _units(self.model), strict=True):
            norm = cast("nn.BatchNorm2d", unit.norm)
            assert norm.running_var is not None
            assert norm.running_mean is not None
            assert fused.conv.bias is not None
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            fused.conv.weight.copy_(unit.conv.weight * scale.reshape(-1, 1, 1, 1))
            fused.conv.bias.copy_(norm.bias - norm.running_mean * scale)
        return self.model


def fuse_norms(model: Detector) -> Detector:
    """Returns a copy for inference whose batch norms are folded into their convolutions."""
    return FusedCopy(model).model


def _units(model: Detector) -> list[ConvUnit]:
    return [module for module in model.modules() if isinstance(module, ConvUnit)]


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")
