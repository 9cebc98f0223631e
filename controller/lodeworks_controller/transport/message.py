"""What people call about their messages."""

from typing import Any

import grpc.aio
from lodeworks.api.message.v1 import message_pb2, message_pb2_grpc

from lodeworks_controller.domain.message import Message
from lodeworks_controller.service.message import MessageService
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]


class MessageServicer(message_pb2_grpc.MessageServiceServicer):
    """Shows people their messages."""

    def __init__(self, messages: MessageService, *, gate: Gate) -> None:
        self._messages = messages
        self._gate = gate

    async def ListMessages(
        self, request: message_pb2.ListMessagesRequest, context: Context
    ) -> message_pb2.ListMessagesResponse:
        """Lists the caller's messages, newest first."""
        limit = page_size(request.page_size)
        inbox = await self._messages.list(
            await self._gate.caller(context),
            unread=request.unread,
            project_id=request.project_id,
            before_id=request.page_token,
            limit=limit,
        )
        token = inbox.messages[-1].id if len(inbox.messages) == limit else ""
        return message_pb2.ListMessagesResponse(
            messages=[_to_message(one) for one in inbox.messages], next_page_token=token, unread=inbox.unread
        )

    async def ReadMessages(
        self, request: message_pb2.ReadMessagesRequest, context: Context
    ) -> message_pb2.ReadMessagesResponse:
        """Marks messages of the caller as read."""
        count = await self._messages.read(await self._gate.caller(context), request.message_ids)
        return message_pb2.ReadMessagesResponse(count=count)


def _to_message(message: Message) -> message_pb2.Message:
    return message_pb2.Message(
        id=message.id,
        topic=message.topic,
        text=message.text,
        project_id=message.project_id,
        subject=message.subject,
        create_time=to_time(message.created_at),
        read_time=to_time(message.read_at),
    )
