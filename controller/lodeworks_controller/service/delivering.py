"""Sending deliveries: signed, tried again with growing pauses, given up after the last try."""

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.webhook import Delivery, DeliveryState, Try, Webhook
from lodeworks_controller.service.store import Store
from lodeworks_controller.service.wake import Wakes

_log = logging.getLogger(__name__)

_BATCH: Final = 64
_AT_ONCE: Final = 8
"""Requests to one webhook at once, each of another subject."""

_RECEIVED: Final = range(200, 300)


class Sender(Protocol):
    """Sends HTTP requests to addresses of others."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int:
        """Sends a request and returns the status of the answer; raises where none came."""
        ...


class Delivering:
    """Sends what waits.

    Args:
        store: The database.
        sender: Sends.
        secrets: Returns the secret of a webhook's id.
        clock: The present moment.
        chance: Numbers between 0 and 1.
        wakes: Whom to wake.
    """

    def __init__(
        self,
        store: Store,
        sender: Sender,
        *,
        secrets: Callable[[str], str],
        clock: Clock,
        chance: Callable[[], float],
        wakes: Wakes,
    ) -> None:
        self._wakes = wakes
        self._store = store
        self._sender = sender
        self._secrets = secrets
        self._clock = clock
        self._chance = chance
        self._busy = dict[str, asyncio.Task[bool]]()

    async def send_due(self) -> None:
        """Begins to send what is due, and does not wait for it: a slow receiver holds up no other."""
        async with self._store.snapshot() as tx:
            due = await tx.webhooks.with_due(now=tx.now())
        for webhook_id in due:
            if webhook_id not in self._busy:
                self._begin(webhook_id)

    async def stop(self) -> None:
        """Ends what is under way; it is sent again after the next start."""
        for task in self._busy.values():
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy.values())

    def _begin(self, webhook_id: str) -> None:
        task = asyncio.create_task(self._send_some(webhook_id), name=f"webhook {webhook_id}")
        self._busy[webhook_id] = task

        def over(ended: asyncio.Task[bool]) -> None:
            del self._busy[webhook_id]
            if not ended.cancelled() and ended.exception() is None and ended.result():
                self._wakes.webhooks.set()  # there may be more, now that the first of a subject are through

        task.add_done_callback(over)

    async def _send_some(self, webhook_id: str) -> bool:
        """Sends a batch; says whether there was anything to send."""
        async with self._store.snapshot() as tx:
            webhook = await tx.webhooks.get(webhook_id)
            due = await tx.webhooks.due(webhook_id, now=tx.now(), limit=_BATCH)
        if webhook is None or not due:
            return False
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(delivery: Delivery) -> None:
            async with gate:
                await self._send(webhook, delivery)

        for outcome in await asyncio.gather(*(one(delivery) for delivery in due), return_exceptions=True):
            if isinstance(outcome, Exception):
                _log.error("webhook %s: what was sent could not be noted", webhook.name, exc_info=outcome)
        return True

    async def _send(self, webhook: Webhook, delivery: Delivery) -> None:
        made = await self._try(webhook, delivery)
        after = delivery.after(made, at=self._clock(), chance=self._chance())
        async with self._store.transaction() as tx:
            await tx.webhooks.put(after, made)
            if after.state is DeliveryState.DEAD:
                told = {
                    "name": webhook.name,
                    "topic": delivery.topic,
                    "delivery_id": delivery.id,
                    "tries": after.attempts,
                    "error": made.error,
                    "created_by": webhook.created_by,
                }
                if delivery.topic != "webhook.dead":  # or a dead receiver would hear of itself for ever
                    await tx.outbox.add("webhook.dead", told, subject=webhook.id, project_id=webhook.project_id)

    async def _try(self, webhook: Webhook, delivery: Delivery) -> Try:
        begun = self._clock()
        body = delivery.body.encode()
        headers = signed_headers(delivery.id, body, timestamp=int(begun.timestamp()), secret=self._secrets(webhook.id))
        status, error = 0, ""
        try:
            status = await self._sender.post(webhook.url, headers=headers, body=body)
            if status not in _RECEIVED:
                error = f"the receiver answered {status}"
        except Exception as problem:  # noqa: BLE001 (whatever went wrong, the delivery is tried again)
            error = str(problem) or type(problem).__name__
        duration_ms = round((self._clock() - begun).total_seconds() * 1000)
        return Try(begun, status, error[:500], max(0, duration_ms))


def signed_headers(delivery_id: str, body: bytes, *, timestamp: int, secret: str) -> dict[str, str]:
    """Returns the headers of standardwebhooks.com.

    Args:
        delivery_id: By which the receiver drops repeats.
        body: What is sent.
        timestamp: Seconds since 1970, by which the receiver drops what is old.
        secret: ``whsec_`` and the key in base64.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
