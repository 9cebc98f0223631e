"""Takes the next items of a stream while the caller still works on the last one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, TypeVar

_T = TypeVar("_T")

_END: Final = object()


async def ahead(source: AsyncIterator[_T], *, items: int = 2) -> AsyncIterator[_T]:
    """Yields the items of a source, of which up to so many are taken before they are asked for.

    What the source raises is raised where the caller would have met it. Left early, the source is closed.
    """
    ready: asyncio.Queue[object] = asyncio.Queue(items)

    async def take() -> None:
        try:
            async for item in source:
                await ready.put(item)
        except Exception as error:  # noqa: BLE001 (raised again below)
            await ready.put(_Failure(error))
        else:
            await ready.put(_END)

    taking = asyncio.create_task(take())
    try:
        while (item := await ready.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        taking.cancel()
        with suppress(asyncio.CancelledError):
            await taking
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error
