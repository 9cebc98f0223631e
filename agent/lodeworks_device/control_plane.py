"""What the agent asks of its controller."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from lodeworks_device.desired import Signed


@dataclass(frozen=True, slots=True)
class Report:
    """One report; `state` is canonical JSON, empty when there is nothing new to tell."""

    observed_generation: int
    boot_id: str
    seq: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the controller says: a newer desired state or None, and how long to wait before the next call."""

    desired: Signed | None
    retry_after_s: float
    agents_address: str = ""
    """Where controllers listen for agents now; empty = as before."""
    addresses: tuple[str, ...] = ()
    """Where they enrol and renew now; empty = as before."""


class ControlPlane(Protocol):
    """The controller. Every call raises UnreachableError (try later) or RefusedError (its reason says why)."""

    async def sync(self, report: Report, *, wait_s: float) -> Answer:
        """Hands a report over and waits for a newer desired state."""
        ...

    async def metadata(self, name: str) -> bytes:
        """Returns a metadata file of the release repository; RefusedError METADATA_NOT_FOUND ends a walk."""
        ...

    async def target(self, path: str) -> bytes:
        """Returns a target file of the release repository."""
        ...

    def read_blob(self, digest: str, offset: int, size_bytes: int) -> AsyncIterator[bytes]:
        """Yields the bytes of a blob from an offset to its end, over interruptions."""
        ...
