"""Copying many blobs out of an object store into files, each pack read in long ranges rather than blob by blob."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.blob_store import Blob
from lodeworks_controller.storage.blobs.placement import Placed, PlacementStore
from lodeworks_controller.storage.blobs.repacking import object_key, pack_key

_ASKED_AT_ONCE: Final = 2_000
_RANGE_BYTES: Final = 16 << 20
_AT_ONCE: Final = 8
_LOOKS: Final = 3
"""How often a blob is looked for: packs are rewritten while one reads."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A range of one object, and the blobs in it."""

    key: str
    start_bytes: int
    size_bytes: int
    blobs: Sequence[Placed]


class Fetching:
    """Copies blobs out of an object store.

    Args:
        objects: An obstore store.
        index: Who keeps note of where blobs lie.
    """

    def __init__(self, objects: Any, index: PlacementStore) -> None:
        self._objects = objects
        self._index = index

    async def copy(self, digests: Iterable[str], *, room: Callable[[str], Path]) -> AsyncIterator[Blob]:
        """Copies each blob into the file that `room` names for it; yields those that are there, in any order.

        Raises InvalidError CONTENT_DAMAGED for one whose bytes are not those of its digest.
        """
        left = list(digests)
        for _ in range(_LOOKS):
            copied = set[str]()
            for start in range(0, len(left), _ASKED_AT_ONCE):
                async with self._index.snapshot() as tx:
                    placed = await tx.objects.find(left[start : start + _ASKED_AT_ONCE])
                spans = _spans(placed.values())
                for first in range(0, len(spans), _AT_ONCE):
                    some = (self._span(span, room) for span in spans[first : first + _AT_ONCE])
                    for blobs in await asyncio.gather(*some):
                        for blob in blobs:
                            copied.add(blob.digest)
                            yield blob
            left = [digest for digest in left if digest not in copied]
            if not left:
                return

    async def _span(self, span: _Span, room: Callable[[str], Path]) -> Sequence[Blob]:
        """Copies what is in a span; nothing where its object is gone."""
        try:
            if len(span.blobs) == 1:
                await self._alone(span, room(span.blobs[0].digest))
            else:
                data = await self._range(span.key, span.start_bytes, span.size_bytes)
                await asyncio.to_thread(_cut, data, span, room)
        except FileNotFoundError:
            return ()
        return [Blob(one.digest, one.size_bytes) for one in span.blobs]

    async def _alone(self, span: _Span, target: Path) -> None:
        """Copies one blob, however large it is."""
        (blob,) = span.blobs
        seen = hashlib.sha256()
        try:
            with target.open("wb") as file:
                for start in range(0, blob.size_bytes, _RANGE_BYTES):
                    size_bytes = min(_RANGE_BYTES, blob.size_bytes - start)
                    data = await self._range(span.key, span.start_bytes + start, size_bytes)
                    seen.update(data)
                    await asyncio.to_thread(file.write, data)
        except FileNotFoundError:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            raise
        _check(blob.digest, seen.hexdigest())

    async def _range(self, key: str, start: int, size_bytes: int) -> bytes:
        if not size_bytes:
            return b""
        return bytes(await self._objects.get_range_async(key, start=start, length=size_bytes))


def _spans(placed: Iterable[Placed]) -> list[_Span]:
    """Puts blobs that follow each other in a pack together, up to a range's length."""
    spans = list[_Span]()
    together = list[Placed]()

    def close() -> None:
        if together:
            first, last = together[0], together[-1]
            key = pack_key(first.pack) if first.pack else object_key(first.digest)
            size_bytes = last.start_bytes + last.size_bytes - first.start_bytes
            spans.append(_Span(key, first.start_bytes, size_bytes, tuple(together)))
            together.clear()

    for one in sorted(placed, key=lambda blob: (blob.pack, blob.start_bytes, blob.digest)):
        if together:
            first, last = together[0], together[-1]
            follows = one.pack and one.pack == last.pack and one.start_bytes == last.start_bytes + last.size_bytes
            if not follows or one.start_bytes + one.size_bytes - first.start_bytes > _RANGE_BYTES:
                close()
        together.append(one)
    close()
    return spans


def _cut(data: bytes, span: _Span, room: Callable[[str], Path]) -> None:
    for one in span.blobs:
        start = one.start_bytes - span.start_bytes
        piece = data[start : start + one.size_bytes]
        _check(one.digest, hashlib.sha256(piece).hexdigest())
        room(one.digest).write_bytes(piece)


def _check(digest: str, found: str) -> None:
    if found != digest:
        raise InvalidError(
            "CONTENT_DAMAGED",
            f"the object store answers other bytes than it was given: blob {digest} has digest {found} there; look at "
            "the bucket's versions",
            digest=digest,
        )
