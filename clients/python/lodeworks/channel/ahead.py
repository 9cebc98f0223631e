"""Takes the next items of a stream while the caller still works on the last one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

_T = TypeVar("_T")

_END: Final = object()


@asynccontextmanager
async def ahead(source: AsyncGenerator[_T, None], *, items: int = 2) -> AsyncIterator[AsyncIterator[_T]]:
    """Yields an iterator of the source's items, of which up to so many are taken before they are asked for.

    What the source raises is raised where the caller would have met it. When the block is left the source is closed,
    also where somebody else, such as a call that broke off, never asked the iterator to its end.
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
        yield _given(ready)
    finally:
        taking.cancel()
        with suppress(asyncio.CancelledError):
            await taking
        await source.aclose()


async def _given(ready: asyncio.Queue[object]) -> AsyncIterator[_T]:
    while (item := await ready.get()) is not _END:
        if isinstance(item, _Failure):
            raise item.error
        yield item  # type: ignore[misc]


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error
