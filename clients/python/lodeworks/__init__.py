"""The Lodeworks client library and command line.

The public names load on first use, so that programs which need only the stubs or the channel stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lodeworks.blocking.client import Client
    from lodeworks.errors import LodeError
    from lodeworks.options import TaskOptions
    from lodeworks.profile import Profile
    from lodeworks.resources.client import AsyncClient

__all__ = ["AsyncClient", "Client", "LodeError", "Profile", "TaskOptions"]

_HOMES = {
    "AsyncClient": "lodeworks.resources.client",
    "Client": "lodeworks.blocking.client",
    "LodeError": "lodeworks.errors",
    "Profile": "lodeworks.profile",
    "TaskOptions": "lodeworks.options",
}


def __getattr__(name: str) -> Any:
    """Loads a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as late as possible

    return getattr(import_module(_HOMES[name]), name)
