"""How a finished task becomes its result: the asyncio form and its blocking twin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from lodeworks.api.task.v1.task_pb2 import Task

T = TypeVar("T")

AsyncMaker: TypeAlias = Callable[[Task], Awaitable[T]]
Maker: TypeAlias = Callable[[Task], T]
