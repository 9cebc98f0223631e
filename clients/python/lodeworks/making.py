"""How a finished task becomes its result: the asyncio form and its blocking twin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from lodeworks.api.task.v1.task_pb2 import Task

T = TypeVar("T")

AsyncMaker: TypeAlias = Callable[[Task], Awaitable[T]]
Maker: TypeAlias = Callable[[Task], T]

P = TypeVar("P")

AsyncWish: TypeAlias = Callable[[P], Awaitable[Any]]
"""Asks something of a project."""
Wish: TypeAlias = Callable[[P], Any]
