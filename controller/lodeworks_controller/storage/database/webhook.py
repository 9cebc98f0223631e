"""Webhooks and their deliveries in SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from lodeworks_controller.domain.webhook import Delivery, DeliveryState, Try, Webhook
from lodeworks_controller.storage.database.connection import Connection
from lodeworks_controller.storage.database.schema import Id, Instant, JsonText, metadata

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("name", String(64), nullable=False),
    Column("url", Text, nullable=False),
    Column("topics", JsonText, nullable=False),
    Column("created_by", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("project_id", "name"),
)

deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("webhook_id", Id, ForeignKey("webhooks.id"), nullable=False),
    Column("topic", String(80), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("ended_at", Instant),
    Index(None, "state", "not_before", "webhook_id"),
    Index(None, "webhook_id", "subject", "state"),
)

tries = Table(
    "webhook_tries",
    metadata,
    Column("delivery_id", Id, ForeignKey("webhook_deliveries.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    PrimaryKeyConstraint("delivery_id", "number"),
)

_WAITING = DeliveryState.WAITING.value


class SqlWebhookRows:
    """The webhooks on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert(self, webhook: Webhook) -> None:
        """Stores a new webhook."""
        row = {column.name: getattr(webhook, column.name) for column in webhooks.c} | {"topics": list(webhook.topics)}
        await self._connection.execute(insert(webhooks), row)

    async def find(self, project_id: str, name_or_id: str) -> Webhook | None:
        """Returns the webhook of that name or id in a project."""
        named = or_(webhooks.c.name == name_or_id, webhooks.c.id == name_or_id)
        query = select(webhooks).where(webhooks.c.project_id == project_id, named)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_webhook(row)

    async def get(self, webhook_id: str) -> Webhook | None:
        """Returns a webhook; None when it was removed."""
        row = (await self._connection.execute(select(webhooks).where(webhooks.c.id == webhook_id))).mappings().first()
        return None if row is None else _to_webhook(row)

    async def list(self, project_id: str | None = None) -> Sequence[Webhook]:
        """Returns the webhooks of a project by name, or all there are."""
        query = select(webhooks).order_by(webhooks.c.name, webhooks.c.id)
        if project_id is not None:
            query = query.where(webhooks.c.project_id == project_id)
        return [_to_webhook(row) for row in (await self._connection.execute(query)).mappings()]

    async def delete(self, webhook_id: str) -> None:
        """Removes a webhook with its deliveries."""
        mine = select(deliveries.c.id).where(deliveries.c.webhook_id == webhook_id)
        await self._connection.execute(delete(tries).where(tries.c.delivery_id.in_(mine)))
        await self._connection.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
        await self._connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))

    async def add_deliveries(self, made: Sequence[Delivery]) -> None:
        """Stores new deliveries."""
        if made:
            await self._connection.execute(insert(deliveries), [_values(delivery) for delivery in made])

    async def delivery(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """Returns one delivery of a webhook."""
        query = select(deliveries).where(deliveries.c.webhook_id == webhook_id, deliveries.c.id == delivery_id)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_delivery(row)

    async def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None, before_id: str, limit: int
    ) -> Sequence[Delivery]:
        """Returns deliveries of a webhook, newest first."""
        query = select(deliveries).where(deliveries.c.webhook_id == webhook_id).order_by(deliveries.c.id.desc())
        if state is not None:
            query = query.where(deliveries.c.state == state.value)
        if before_id:
            query = query.where(deliveries.c.id < before_id)
        return [_to_delivery(row) for row in (await self._connection.execute(query.limit(limit))).mappings()]

    async def tries(self, delivery_ids: Sequence[str]) -> Mapping[str, Sequence[Try]]:
        """Returns the tries of deliveries, oldest first."""
        query = select(tries).where(tries.c.delivery_id.in_(delivery_ids)).order_by(tries.c.delivery_id, tries.c.number)
        found: dict[str, list[Try]] = {}
        for row in (await self._connection.execute(query)).mappings():
            made = Try(row["at"], row["status"], row["error"], row["duration_ms"])
            found.setdefault(row["delivery_id"], []).append(made)
        return found

    async def with_due(self, *, now: datetime) -> Sequence[str]:
        """Returns the ids of webhooks that have deliveries whose time has come."""
        query = select(deliveries.c.webhook_id).distinct()
        query = query.where(deliveries.c.state == _WAITING, deliveries.c.not_before <= now)
        return list((await self._connection.execute(query)).scalars())

    async def due(self, webhook_id: str, *, now: datetime, limit: int) -> Sequence[Delivery]:
        """Returns deliveries of a webhook whose time has come, oldest first, none before an earlier of its subject."""
        earlier = deliveries.alias("earlier")
        blocked = exists().where(
            earlier.c.webhook_id == deliveries.c.webhook_id,
            earlier.c.subject == deliveries.c.subject,
            earlier.c.state == _WAITING,
            earlier.c.id < deliveries.c.id,
        )
        query = (
            select(deliveries)
            .where(
                deliveries.c.webhook_id == webhook_id,
                deliveries.c.state == _WAITING,
                deliveries.c.not_before <= now,
                ~blocked,
            )
            .order_by(deliveries.c.id)
            .limit(limit)
        )
        return [_to_delivery(row) for row in (await self._connection.execute(query)).mappings()]

    async def put(self, delivery: Delivery, made: Try) -> None:
        """Stores how a delivery stands after a try; one that was removed meanwhile stays so."""
        changed = update(deliveries).where(deliveries.c.id == delivery.id, deliveries.c.state == _WAITING)
        if not (await self._connection.execute(changed.values(_changing(delivery)))).rowcount:
            return
        last = select(func.max(tries.c.number)).where(tries.c.delivery_id == delivery.id)
        number = ((await self._connection.execute(last)).scalar() or 0) + 1
        row = {
            "delivery_id": delivery.id,
            "number": number,
            "at": made.at,
            "status": made.status,
            "error": made.error,
            "duration_ms": made.duration_ms,
        }
        await self._connection.execute(insert(tries), row)

    async def begin_again(self, delivery: Delivery) -> None:
        """Stores a delivery that begins again."""
        changed = update(deliveries).where(deliveries.c.id == delivery.id)
        await self._connection.execute(changed.values(_changing(delivery)))

    async def counts(self, webhook_ids: Sequence[str]) -> Mapping[tuple[str, DeliveryState], int]:
        """Returns how many deliveries there are by webhook and state."""
        query = (
            select(deliveries.c.webhook_id, deliveries.c.state, func.count().label("number"))
            .where(deliveries.c.webhook_id.in_(webhook_ids))
            .group_by(deliveries.c.webhook_id, deliveries.c.state)
        )
        rows = (await self._connection.execute(query)).mappings()
        return {(row["webhook_id"], DeliveryState(row["state"])): row["number"] for row in rows}

    async def waiting_and_dead(self) -> Mapping[DeliveryState, int]:
        """Returns how many deliveries wait, and how many were given up."""
        told = (_WAITING, DeliveryState.DEAD.value)
        query = select(deliveries.c.state, func.count().label("number")).where(deliveries.c.state.in_(told))
        rows = (await self._connection.execute(query.group_by(deliveries.c.state))).mappings()
        return {DeliveryState(row["state"]): row["number"] for row in rows}

    async def prune(self, *, before: datetime) -> int:
        """Removes deliveries that ended before the moment; returns how many."""
        old = and_(deliveries.c.state != _WAITING, deliveries.c.ended_at < before)
        await self._connection.execute(delete(tries).where(tries.c.delivery_id.in_(select(deliveries.c.id).where(old))))
        return (await self._connection.execute(delete(deliveries).where(old))).rowcount


def _changing(delivery: Delivery) -> dict[str, Any]:
    return {
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "not_before": delivery.not_before,
        "ended_at": delivery.ended_at,
    }


def _values(delivery: Delivery) -> dict[str, Any]:
    fixed = ("id", "webhook_id", "topic", "subject", "body", "created_at")
    return {name: getattr(delivery, name) for name in fixed} | _changing(delivery)


def _to_webhook(row: Any) -> Webhook:
    return Webhook(**{**row, "topics": tuple(row["topics"])})


def _to_delivery(row: Any) -> Delivery:
    return Delivery(**{**row, "state": DeliveryState(row["state"])})
