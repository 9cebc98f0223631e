"""How work on PostgreSQL is carried out: to its end, and its failures told as what they mean to a caller."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError

from lodeworks_controller.storage.database.postgres_refusal import refusal

T = TypeVar("T")

TROUBLE: Final = (SQLAlchemyError, PostgresError, InterfaceError, OSError)


async def known(work: Awaitable[T]) -> T:
    """Tells a failure of the database as what it means to a caller."""
    try:
        return await work
    except TROUBLE as error:
        if (meant := refusal(error)) is not None:
            raise meant from error
        raise


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Lets work end, also when its caller was cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_seen)
    return await asyncio.shield(task)


def _seen(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # marked as seen: the caller may have gone
