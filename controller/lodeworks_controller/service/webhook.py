"""Webhooks, as people administer them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.webhook import TEST_TOPIC, Delivery, DeliveryState, Try, Webhook, new_webhook
from lodeworks_controller.errors import ExistsError, NotFoundError
from lodeworks_controller.service.access import require_administrator
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.wake import Wakes

_ALL = 1_000


class WebhookRows(Protocol):
    """The webhooks and their deliveries as one transaction sees them. No method commits."""

    async def insert(self, webhook: Webhook) -> None:
        """Stores a new webhook."""
        ...

    async def find(self, project_id: str, name_or_id: str) -> Webhook | None:
        """Returns the webhook of that name or id in a project."""
        ...

    async def get(self, webhook_id: str) -> Webhook | None:
        """Returns a webhook; None when it was removed."""
        ...

    async def list(self, project_id: str | None = None) -> Sequence[Webhook]:
        """Returns the webhooks of a project by name, or all there are."""
        ...

    async def delete(self, webhook_id: str) -> None:
        """Removes a webhook with its deliveries."""
        ...

    async def add_deliveries(self, made: Sequence[Delivery]) -> None:
        """Stores new deliveries."""
        ...

    async def delivery(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """Returns one delivery of a webhook."""
        ...

    async def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None, before_id: str, limit: int
    ) -> Sequence[Delivery]:
        """Returns deliveries of a webhook, newest first."""
        ...

    async def tries(self, delivery_ids: Sequence[str]) -> Mapping[str, Sequence[Try]]:
        """Returns the tries of deliveries, oldest first."""
        ...

    async def with_due(self, *, now: datetime) -> Sequence[str]:
        """Returns the ids of webhooks that have deliveries whose time has come."""
        ...

    async def due(self, webhook_id: str, *, now: datetime, limit: int) -> Sequence[Delivery]:
        """Returns deliveries of a webhook whose time has come, oldest first, none before an earlier of its subject."""
        ...

    async def put(self, delivery: Delivery, made: Try) -> None:
        """Stores how a delivery stands after a try; one that was removed meanwhile stays so."""
        ...

    async def begin_again(self, delivery: Delivery) -> None:
        """Stores a delivery that begins again."""
        ...

    async def counts(self, webhook_ids: Sequence[str]) -> Mapping[tuple[str, DeliveryState], int]:
        """Returns how many deliveries there are by webhook and state."""
        ...

    async def waiting_and_dead(self) -> Mapping[DeliveryState, int]:
        """Returns how many deliveries wait, and how many were given up."""
        ...

    async def prune(self, *, before: datetime) -> int:
        """Removes deliveries that ended before the moment; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookView:
    """A webhook with the figures of its deliveries."""

    webhook: Webhook
    waiting: int
    dead: int


class WebhookService:
    """Makes, shows and removes webhooks, and begins deliveries again.

    Args:
        store: The database.
        ids: Names for what is made.
        secrets: Returns the secret of a webhook's id.
        check: Refuses an address that the operator does not let webhooks reach.
        wakes: Whom to wake.
    """

    def __init__(
        self, store: Store, *, ids: Ids, secrets: Callable[[str], str], check: Callable[[str], None], wakes: Wakes
    ) -> None:
        self._store = store
        self._ids = ids
        self._secrets = secrets
        self._check = check
        self._wakes = wakes

    async def create(
        self,
        principal: Principal,
        project: str,
        name: str,
        *,
        url: str,
        topics: Sequence[str] = (),
        request_id: str = "",
    ) -> tuple[WebhookView, str]:
        """Makes a webhook; returns it with its secret."""
        once = Once(principal.actor, "webhook.create", request_id)
        async with self._store.transaction() as tx:
            project_id = await _scope(tx, principal, project)
            made = await once.result(tx)
            if made is not None:
                return await self._view(tx, await _known(tx, project_id, made)), self._secrets(made)
            webhook = new_webhook(
                self._ids(),
                project_id=project_id,
                name=name,
                url=url,
                topics=topics,
                created_by=principal.user_id,
                at=tx.now(),
            )
            self._check(url)
            if await tx.webhooks.find(project_id, name) is not None:
                raise ExistsError("WEBHOOK_EXISTS", f"there is a webhook {name} already; choose another name")
            await tx.webhooks.insert(webhook)
            await once.keep(tx, webhook.id)
            await tx.audit.add(
                "webhook.create", webhook.id, actor=principal.actor, project_id=project_id, detail={"url": url}
            )
            return await self._view(tx, webhook), self._secrets(webhook.id)

    async def get(self, principal: Principal, project: str, name_or_id: str) -> tuple[WebhookView, str]:
        """Returns a webhook with its secret."""
        async with self._store.snapshot() as tx:
            webhook = await _known(tx, await _scope(tx, principal, project), name_or_id)
            return await self._view(tx, webhook), self._secrets(webhook.id)

    async def list(self, principal: Principal, project: str) -> Sequence[WebhookView]:
        """Returns the webhooks of a project, or of the installation, by name."""
        async with self._store.snapshot() as tx:
            found = await tx.webhooks.list(await _scope(tx, principal, project))
            return [await self._view(tx, webhook) for webhook in found]

    async def delete(self, principal: Principal, project: str, name_or_id: str, *, request_id: str = "") -> None:
        """Removes a webhook and what waits for it."""
        once = Once(principal.actor, "webhook.delete", request_id)
        async with self._store.transaction() as tx:
            project_id = await _scope(tx, principal, project)
            if await once.result(tx) is not None:
                return
            webhook = await _known(tx, project_id, name_or_id)
            await tx.webhooks.delete(webhook.id)
            await once.keep(tx, webhook.id)
            await tx.audit.add(
                "webhook.delete",
                webhook.id,
                actor=principal.actor,
                project_id=project_id,
                detail={"name": webhook.name},
            )

    async def test(self, principal: Principal, project: str, name_or_id: str) -> Delivery:
        """Sends a test event to a webhook."""
        async with self._store.transaction() as tx:
            project_id = await _scope(tx, principal, project)
            webhook = await _known(tx, project_id, name_or_id)
            event_id = self._ids()
            told = {"webhook": webhook.name, "asked_by": principal.name}
            delivery = Delivery(
                id=event_id,
                webhook_id=webhook.id,
                topic=TEST_TOPIC,
                subject=event_id,
                body=body_of(TEST_TOPIC, told, at=tx.now()),
                created_at=tx.now(),
                not_before=tx.now(),
            )
            await tx.webhooks.add_deliveries([delivery])
            tx.on_commit(self._wakes.webhooks.set)
            return delivery

    async def deliveries(
        self,
        principal: Principal,
        project: str,
        name_or_id: str,
        *,
        state: DeliveryState | None = None,
        before_id: str = "",
        limit: int = 100,
    ) -> Sequence[tuple[Delivery, Sequence[Try]]]:
        """Returns the deliveries of a webhook with their tries, newest first."""
        async with self._store.snapshot() as tx:
            webhook = await _known(tx, await _scope(tx, principal, project), name_or_id)
            found = await tx.webhooks.deliveries(webhook.id, state=state, before_id=before_id, limit=limit)
            tries = await tx.webhooks.tries([delivery.id for delivery in found])
            return [(delivery, tries.get(delivery.id, ())) for delivery in found]

    async def redeliver(self, principal: Principal, project: str, name_or_id: str, *, delivery_id: str = "") -> int:
        """Begins one delivery again, or all that were given up; returns how many."""
        async with self._store.transaction() as tx:
            project_id = await _scope(tx, principal, project)
            webhook = await _known(tx, project_id, name_or_id)
            if delivery_id:
                one = await tx.webhooks.delivery(webhook.id, delivery_id)
                if one is None:
                    message = f"webhook {webhook.name} has no delivery {delivery_id}; see `lode webhook deliveries`"
                    raise NotFoundError("DELIVERY_NOT_FOUND", message)
                chosen: Sequence[Delivery] = [one]
            else:
                chosen = await tx.webhooks.deliveries(webhook.id, state=DeliveryState.DEAD, before_id="", limit=_ALL)
            for delivery in chosen:
                await tx.webhooks.begin_again(delivery.begun_again(at=tx.now()))
            if chosen:
                await tx.audit.add(
                    "webhook.redeliver",
                    webhook.id,
                    actor=principal.actor,
                    project_id=project_id,
                    detail={"count": len(chosen)},
                )
                tx.on_commit(self._wakes.webhooks.set)
            return len(chosen)

    async def _view(self, tx: Transaction, webhook: Webhook) -> WebhookView:
        counts = await tx.webhooks.counts([webhook.id])
        return WebhookView(
            webhook,
            counts.get((webhook.id, DeliveryState.WAITING), 0),
            counts.get((webhook.id, DeliveryState.DEAD), 0),
        )


def body_of(topic: str, payload: Mapping[str, object], *, at: datetime) -> str:
    """Returns the document that is sent of an event: type, timestamp, data."""
    document = {"type": topic, "timestamp": at.isoformat(), "data": dict(payload)}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


async def _scope(tx: Transaction, principal: Principal, project: str) -> str:
    if not project:
        require_administrator(principal)
        return ""
    return (await enter(tx, principal, project, ProjectRole.OWNER)).id


async def _known(tx: Transaction, project_id: str, name_or_id: str) -> Webhook:
    webhook = await tx.webhooks.find(project_id, name_or_id)
    if webhook is None:
        raise NotFoundError("WEBHOOK_NOT_FOUND", f"there is no webhook {name_or_id!r}; see `lode webhook ls`")
    return webhook
