"""Messages: what happened while the caller was away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks.api.message.v1 import message_pb2 as pb
from lodeworks.api.message.v1.message_pb2_grpc import MessageServiceStub
from lodeworks.blocking.paging import pages
from lodeworks.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Messages:
    """The caller's messages.

    Args:
        connection: Where they live.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, unread: bool = False) -> Iterator[pb.Message]:
        """Yields the messages, newest first."""
        request = pb.ListMessagesRequest(unread=unread)
        for message in pages(self._connection, MessageServiceStub, "ListMessages", request, items="messages"):
            yield message

    def read(self, message_ids: Sequence[str] = ()) -> int:
        """Marks messages as read, all when none are named; returns how many were not before."""
        response: pb.ReadMessagesResponse = self._connection.call(
            MessageServiceStub, "ReadMessages", pb.ReadMessagesRequest(message_ids=message_ids)
        )
        return response.count
