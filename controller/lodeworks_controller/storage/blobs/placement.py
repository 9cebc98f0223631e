"""Where a blob lies in an object store, and who keeps note of it."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Placed:
    """A blob in the object store: a range of a pack, or an object of its own where the pack is empty."""

    digest: str
    pack: str
    start_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pack:
    """An object of many small blobs: its bytes, and how many of them still count."""

    id: str
    size_bytes: int
    live_bytes: int = 0


class PlacementRows(Protocol):
    """The index of an object store, as one transaction sees it."""

    async def find(self, digests: Iterable[str]) -> dict[str, Placed]:
        """Returns digest → where it lies, for those that are stored."""
        ...

    async def put(self, blobs: Sequence[Placed], *, pack: Pack | None = None) -> None:
        """Notes where blobs lie; one that lies somewhere already stays there."""
        ...

    async def remove(self, digests: Sequence[str]) -> Sequence[Placed]:
        """Forgets blobs; returns where they lay."""
        ...

    async def page(self, *, after: str, limit: int) -> Sequence[Placed]:
        """Returns stored blobs in the order of their digests."""
        ...

    async def packs(self) -> Sequence[Pack]:
        """Returns the packs, each with the bytes in it that still count."""
        ...

    async def in_pack(self, pack_id: str) -> Sequence[Placed]:
        """Returns the blobs of a pack in their order."""
        ...

    async def move(self, blobs: Sequence[tuple[Placed, Placed]], *, pack: Pack, emptied: Sequence[str]) -> None:
        """Moves blobs (from, to) that still lie where they lay into a new pack, and forgets emptied ones."""
        ...

    async def clear(self) -> None:
        """Forgets everything: the content is elsewhere now."""
        ...

    async def forget(self, packs: Sequence[str]) -> None:
        """Forgets packs in which nothing counts any more."""
        ...


class PlacementUnit(Protocol):
    """A unit of work with the index."""

    @property
    def objects(self) -> PlacementRows:
        """The index."""
        ...


class PlacementStore(Protocol):
    """Opens units of work with the index."""

    def transaction(self) -> AbstractAsyncContextManager[PlacementUnit]:
        """Opens a unit of work that may write."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[PlacementUnit]:
        """Opens a unit of work that only reads."""
        ...
