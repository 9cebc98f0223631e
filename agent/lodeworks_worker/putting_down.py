"""Cancels work of the event loop without losing a cancellation, or leaving a thread at work behind it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

_T = TypeVar("_T")


async def put_down(*futures: "asyncio.Future[Any]") -> None:
    """Cancels futures and waits until they are over; what they raise is dropped.

    Awaiting a cancelled future under `suppress(CancelledError)` would also swallow the cancellation of the caller.
    """
    for future in futures:
        future.cancel()
    pending = {future for future in futures if not future.done()}
    if pending:
        await asyncio.wait(pending)
    for future in futures:
        if not future.cancelled():
            future.exception()


async def in_thread(work: Callable[..., _T], *arguments: Any, threads: Executor | None = None, **named: Any) -> _T:
    """Does blocking work in a thread; when cancelled, waits for it to end first.

    A thread cannot be cancelled. Left alone, one that stages a run would write into the folder that the next try
    has just begun to stage.
    """
    future = asyncio.get_running_loop().run_in_executor(threads, partial(work, *arguments, **named))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise
