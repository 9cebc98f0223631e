"""Several processes that train one network: what each of them says to the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

# The first process measures alone while the others wait; who is gone is noticed elsewhere, and at once.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Rank:
    """This process among those that train together, counted from 0; alone where `count` is 1."""

    index: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that measures and writes."""
        return self.index == 0

    def join(self, meeting: Path) -> None:
        """Waits until all are there; they find each other by a file that does not exist yet."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        distributed.init_process_group(
            "nccl" if self.device.type == "cuda" else "gloo",
            init_method=f"file://{meeting}",
            rank=self.index,
            world_size=self.count,
            timeout=_PATIENCE,
        )

    def leave(self) -> None:
        """Ends what `join` began."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def spread(self, model: nn.Module) -> nn.Module:
        """Returns the model so that its gradients become the mean over all processes; their weights stay equal."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def add_up(self, values: Tensor) -> Tensor:
        """Returns the sum over all processes, without a gradient."""
        if self.count == 1:
            return values.detach()
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total

    def first_says(self, value: bool) -> bool:  # noqa: FBT001 - it is the message itself
        """Returns what the first process gave; the others wait for it."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.uint8, device=self.device)
        distributed.broadcast(told, src=0)
        return bool(told.item())
