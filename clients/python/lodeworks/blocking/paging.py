"""Lists that come in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lodeworks.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pages(
    connection: Connection, stub: Callable[[Any], Any], method: str, request: Any, *, items: str
) -> Iterator[Any]:
    """Yields the items of all pages.

    Args:
        connection: Where to ask.
        stub: The generated stub class.
        method: Name of the rpc.
        request: Its request; the page token is filled in.
        items: Field of the response that holds a page.
    """
    while True:
        page = connection.call(stub, method, request)
        for item in getattr(page, items):
            yield item
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
