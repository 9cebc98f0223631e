"""From events to those who want to hear of them: webhooks get deliveries, people get messages."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from lodeworks_controller.domain.identity import InstallationRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.message import Message, words_for
from lodeworks_controller.domain.webhook import Delivery
from lodeworks_controller.service.outbox import OutboxMessage
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.service.webhook import body_of

_BATCH: Final = 200
_KEPT: Final = timedelta(days=7)
_DELIVERIES_KEPT: Final = timedelta(days=30)
_MESSAGES_KEPT: Final = timedelta(days=30)
_REQUESTS_KEPT: Final = timedelta(days=7)
_FIRES_KEPT: Final = timedelta(days=365)
_EVERYBODY: Final = 10_000


class FanOut:
    """Hands events on inside the database: exactly once, since the event is ticked off in the same unit of work."""

    def __init__(self, store: Store, *, ids: Ids, wakes: Wakes) -> None:
        self._store = store
        self._ids = ids
        self._wakes = wakes

    async def hand_on(self) -> None:
        """Hands on what waits, oldest first."""
        while True:
            async with self._store.snapshot() as tx:
                if await tx.outbox.oldest() is None:
                    return
            async with self._store.transaction() as tx:
                waiting = await tx.outbox.pending(limit=_BATCH)
                deliveries = await self._deliveries(tx, waiting)
                if deliveries:
                    await tx.webhooks.add_deliveries(deliveries)
                    tx.on_commit(self._wakes.webhooks.set)
                await tx.messages.add(await self._messages(tx, waiting))
                await tx.outbox.delivered([event.id for event in waiting])

    async def prune(self) -> None:
        """Removes what was handed on, delivered, read or answered long ago."""
        async with self._store.transaction() as tx:
            await tx.outbox.prune(before=tx.now() - _KEPT)
            await tx.webhooks.prune(before=tx.now() - _DELIVERIES_KEPT)
            await tx.messages.prune(before=tx.now() - _MESSAGES_KEPT)
            await tx.idempotency.prune(before=tx.now() - _REQUESTS_KEPT)
            await tx.schedules.prune(before=tx.now() - _FIRES_KEPT)

    async def _deliveries(self, tx: Transaction, events: Sequence[OutboxMessage]) -> list[Delivery]:
        webhooks = await tx.webhooks.list()
        return [
            # A webhook that was made after an event does not hear of it.
            Delivery(
                id=self._ids(),
                webhook_id=webhook.id,
                topic=event.topic,
                subject=event.subject,
                body=body_of(event.topic, event.payload, at=event.created_at),
                created_at=event.created_at,
                not_before=tx.now(),
            )
            for event in events
            for webhook in webhooks
            if webhook.created_at <= event.created_at and webhook.hears(event.topic, project_id=event.project_id)
        ]

    async def _messages(self, tx: Transaction, events: Sequence[OutboxMessage]) -> list[Message]:
        made = list[Message]()
        administrators: Sequence[str] | None = None
        for event in events:
            text = words_for(event.topic, event.payload)
            if not text:
                continue
            to = str(event.payload.get("created_by") or "")
            if not to and administrators is None:
                everybody = await tx.users.list(after_name="", limit=_EVERYBODY)
                administrators = [
                    user.id
                    for user in everybody
                    if user.role is InstallationRole.ADMINISTRATOR and user.disabled_at is None
                ]
            made.extend(
                Message(
                    id=self._ids(),
                    user_id=user_id,
                    topic=event.topic,
                    text=text,
                    project_id=event.project_id,
                    subject=event.subject,
                    created_at=event.created_at,
                )
                for user_id in ([to] if to else administrators or ())
            )
        return made
