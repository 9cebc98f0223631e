"""Webhooks: signed HTTP requests that tell other programs what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks.api.webhook.v1 import webhook_pb2 as pb
from lodeworks.api.webhook.v1.webhook_pb2_grpc import WebhookServiceStub
from lodeworks.connection import AsyncConnection, new_request_id
from lodeworks.resources.paging import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class AsyncWebhooks:
    """The webhooks of a project, or of the whole installation.

    Args:
        connection: Where they live.
        project: Id of the project; empty = the whole installation.
    """

    def __init__(self, connection: AsyncConnection, project: str = "") -> None:
        self._connection = connection
        self._project = project

    async def add(self, name: str, *, url: str, topics: Sequence[str] = ()) -> pb.CreateWebhookResponse:
        """Makes a webhook; the response carries the secret of its signatures. Raises ExistsError.

        Args:
            name: Its name.
            url: Where requests go.
            topics: What it hears: task.failed, or task.* for all that begin so; empty = everything.
        """
        request = pb.CreateWebhookRequest(
            project=self._project, name=name, url=url, topics=topics, request_id=new_request_id()
        )
        response: pb.CreateWebhookResponse = await self._connection.call(WebhookServiceStub, "CreateWebhook", request)
        return response

    async def get(self, name: str) -> pb.GetWebhookResponse:
        """Returns a webhook by name or id, with its secret. Raises NotFoundError."""
        response: pb.GetWebhookResponse = await self._connection.call(
            WebhookServiceStub, "GetWebhook", pb.GetWebhookRequest(project=self._project, webhook=name)
        )
        return response

    async def list(self) -> AsyncIterator[pb.Webhook]:
        """Yields the webhooks, sorted by name."""
        request = pb.ListWebhooksRequest(project=self._project)
        async for webhook in pages(self._connection, WebhookServiceStub, "ListWebhooks", request, items="webhooks"):
            yield webhook

    async def delete(self, name: str) -> None:
        """Removes a webhook and what waits for it."""
        request = pb.DeleteWebhookRequest(project=self._project, webhook=name, request_id=new_request_id())
        await self._connection.call(WebhookServiceStub, "DeleteWebhook", request)

    async def test(self, name: str) -> pb.Delivery:
        """Sends a test event; `deliveries` shows how it went."""
        response: pb.TestWebhookResponse = await self._connection.call(
            WebhookServiceStub, "TestWebhook", pb.TestWebhookRequest(project=self._project, webhook=name)
        )
        return response.delivery

    async def deliveries(self, name: str, *, state: str = "") -> AsyncIterator[pb.Delivery]:
        """Yields what was sent and what waits, newest first; state is waiting, delivered, dead or empty for all."""
        request = pb.ListDeliveriesRequest(project=self._project, webhook=name)
        if state:
            request.state = pb.DeliveryState.Value(f"DELIVERY_STATE_{state.upper()}")
        async for delivery in pages(
            self._connection, WebhookServiceStub, "ListDeliveries", request, items="deliveries"
        ):
            yield delivery

    async def redeliver(self, name: str, delivery_id: str = "") -> int:
        """Sends a delivery again, or all that were given up; returns how many."""
        request = pb.RedeliverRequest(project=self._project, webhook=name, delivery_id=delivery_id)
        response: pb.RedeliverResponse = await self._connection.call(WebhookServiceStub, "Redeliver", request)
        return response.count
