"""What people call about webhooks."""

from collections.abc import Sequence
from typing import Any

import grpc.aio
from lodeworks.api.webhook.v1 import webhook_pb2, webhook_pb2_grpc

from lodeworks_controller.domain.webhook import Delivery, DeliveryState, Try
from lodeworks_controller.service.webhook import WebhookService, WebhookView
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]

_STATES = {state: webhook_pb2.DeliveryState.Value(f"DELIVERY_STATE_{state.name}") for state in DeliveryState}
_STATE_OF = {value: state for state, value in _STATES.items()}


class WebhookServicer(webhook_pb2_grpc.WebhookServiceServicer):
    """Administers webhooks."""

    def __init__(self, webhooks: WebhookService, *, gate: Gate) -> None:
        self._webhooks = webhooks
        self._gate = gate

    async def CreateWebhook(
        self, request: webhook_pb2.CreateWebhookRequest, context: Context
    ) -> webhook_pb2.CreateWebhookResponse:
        """Makes a webhook."""
        view, secret = await self._webhooks.create(
            await self._gate.caller(context),
            request.project,
            request.name,
            url=request.url,
            topics=request.topics,
            request_id=request.request_id,
        )
        return webhook_pb2.CreateWebhookResponse(webhook=_to_webhook(view), secret=secret)

    async def GetWebhook(
        self, request: webhook_pb2.GetWebhookRequest, context: Context
    ) -> webhook_pb2.GetWebhookResponse:
        """Shows one webhook."""
        view, secret = await self._webhooks.get(await self._gate.caller(context), request.project, request.webhook)
        return webhook_pb2.GetWebhookResponse(webhook=_to_webhook(view), secret=secret)

    async def ListWebhooks(
        self, request: webhook_pb2.ListWebhooksRequest, context: Context
    ) -> webhook_pb2.ListWebhooksResponse:
        """Lists the webhooks of a project, or those of the whole installation."""
        limit = page_size(request.page_size)
        found = await self._webhooks.list(await self._gate.caller(context), request.project)
        found = [view for view in found if view.webhook.name > request.page_token]
        token = found[limit - 1].webhook.name if len(found) > limit else ""
        return webhook_pb2.ListWebhooksResponse(
            webhooks=[_to_webhook(view) for view in found[:limit]], next_page_token=token
        )

    async def DeleteWebhook(
        self, request: webhook_pb2.DeleteWebhookRequest, context: Context
    ) -> webhook_pb2.DeleteWebhookResponse:
        """Removes a webhook and what waits for it."""
        await self._webhooks.delete(
            await self._gate.caller(context), request.project, request.webhook, request_id=request.request_id
        )
        return webhook_pb2.DeleteWebhookResponse()

    async def TestWebhook(
        self, request: webhook_pb2.TestWebhookRequest, context: Context
    ) -> webhook_pb2.TestWebhookResponse:
        """Sends a test event to a webhook."""
        delivery = await self._webhooks.test(await self._gate.caller(context), request.project, request.webhook)
        return webhook_pb2.TestWebhookResponse(delivery=_to_delivery(delivery, ()))

    async def ListDeliveries(
        self, request: webhook_pb2.ListDeliveriesRequest, context: Context
    ) -> webhook_pb2.ListDeliveriesResponse:
        """Lists what was sent to a webhook and what waits."""
        limit = page_size(request.page_size)
        found = await self._webhooks.deliveries(
            await self._gate.caller(context),
            request.project,
            request.webhook,
            state=_STATE_OF.get(request.state),
            before_id=request.page_token,
            limit=limit,
        )
        token = found[-1][0].id if len(found) == limit else ""
        return webhook_pb2.ListDeliveriesResponse(
            deliveries=[_to_delivery(delivery, tries) for delivery, tries in found], next_page_token=token
        )

    async def Redeliver(self, request: webhook_pb2.RedeliverRequest, context: Context) -> webhook_pb2.RedeliverResponse:
        """Sends a delivery again, or all that were given up."""
        count = await self._webhooks.redeliver(
            await self._gate.caller(context), request.project, request.webhook, delivery_id=request.delivery_id
        )
        return webhook_pb2.RedeliverResponse(count=count)


def _to_webhook(view: WebhookView) -> webhook_pb2.Webhook:
    webhook = view.webhook
    return webhook_pb2.Webhook(
        id=webhook.id,
        name=webhook.name,
        project_id=webhook.project_id,
        url=webhook.url,
        topics=webhook.topics,
        created_by=webhook.created_by,
        create_time=to_time(webhook.created_at),
        waiting=view.waiting,
        dead=view.dead,
    )


def _to_delivery(delivery: Delivery, tries: Sequence[Try]) -> webhook_pb2.Delivery:
    waiting = delivery.state is DeliveryState.WAITING
    return webhook_pb2.Delivery(
        id=delivery.id,
        topic=delivery.topic,
        subject=delivery.subject,
        state=_STATES[delivery.state],
        attempts=delivery.attempts,
        create_time=to_time(delivery.created_at),
        next_time=to_time(delivery.not_before) if waiting else None,
        end_time=to_time(delivery.ended_at),
        tries=[
            webhook_pb2.DeliveryAttempt(
                time=to_time(made.at), status=made.status, error=made.error, duration_ms=made.duration_ms
            )
            for made in tries
        ],
        body_json=delivery.body,
    )
