"""What operating an installation needs, put together by hand: webhooks, messages, the audit log, schedules."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

from lodeworks.api.audit.v1 import audit_pb2_grpc
from lodeworks.api.message.v1 import message_pb2_grpc
from lodeworks.api.schedule.v1 import schedule_pb2_grpc
from lodeworks.api.webhook.v1 import webhook_pb2_grpc

from lodeworks_controller.adapters.webhook import Reach, WebhookSender
from lodeworks_controller.background.cron import start_cron
from lodeworks_controller.background.roles import Roles
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.background.webhooks import start_webhooks
from lodeworks_controller.service.audit import AuditService
from lodeworks_controller.service.delivering import Delivering
from lodeworks_controller.service.firing import Firing
from lodeworks_controller.service.message import MessageService
from lodeworks_controller.service.schedule import Method, ScheduleService
from lodeworks_controller.service.webhook import WebhookService
from lodeworks_controller.transport.audit import AuditServicer
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.listeners import Register
from lodeworks_controller.transport.message import MessageServicer
from lodeworks_controller.transport.schedule import ScheduleServicer
from lodeworks_controller.transport.scheduled import OwnGate, scheduled_methods
from lodeworks_controller.transport.webhook import WebhookServicer
from lodeworks_controller.wiring.datasets import DatasetPart
from lodeworks_controller.wiring.ground import Ground
from lodeworks_controller.wiring.models import ModelPart


class OperationsPart:
    """Services and roles beside the work itself."""

    def __init__(self, ground: Ground, *, methods: Mapping[str, Method], roles: Roles) -> None:
        self._ground = ground
        self._roles = roles
        store, ids, wakes = ground.store, ground.ids, ground.wakes
        secrets = ground.trust.webhook_secrets
        reach = Reach(ground.config.webhook_networks)
        self._sender = WebhookSender(reach)
        self._delivering = Delivering(
            roles.store("outbox"),
            self._sender,
            secrets=secrets,
            clock=ground.clock,
            chance=random.random,
            wakes=wakes,
        )
        self.methods = methods
        self._firing = Firing(roles.store("cron"), methods=methods, wakes=wakes)
        self.webhooks = WebhookService(store, ids=ids, secrets=secrets, check=reach.check_url, wakes=wakes)
        self.messages = MessageService(store)
        self.audit = AuditService(store)
        self.schedules = ScheduleService(store, methods=methods, ids=ids)

    def for_people(self, gate: Gate) -> Sequence[Register]:
        """Returns what people may call."""
        webhooks = WebhookServicer(self.webhooks, gate=gate)
        messages = MessageServicer(self.messages, gate=gate)
        audit = AuditServicer(self.audit, gate=gate)
        schedules = ScheduleServicer(self.schedules, gate=gate)
        return [
            lambda server: webhook_pb2_grpc.add_WebhookServiceServicer_to_server(webhooks, server),
            lambda server: message_pb2_grpc.add_MessageServiceServicer_to_server(messages, server),
            lambda server: audit_pb2_grpc.add_AuditServiceServicer_to_server(audit, server),
            lambda server: schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(schedules, server),
        ]

    @asynccontextmanager
    async def running(self, *, clockwork: Callable[[], Ticks] = Ticks) -> AsyncIterator[None]:
        """Runs the background roles."""
        ticks = clockwork()
        rouser = start_webhooks(
            self._delivering, role=self._roles.role("outbox"), wakes=self._ground.wakes, ticks=ticks
        )
        start_cron(self._firing, role=self._roles.role("cron"), ticks=ticks)
        ticks.start()
        try:
            yield
        finally:
            ticks.stop()
            await asyncio.gather(rouser.stop(), self._delivering.stop())
            await self._sender.close()


def methods_of(datasets: DatasetPart, models: ModelPart) -> Mapping[str, Method]:
    """Returns what schedules can carry out: the rpcs of these parts, in a person's name."""
    own = cast("Gate", OwnGate())
    return scheduled_methods(datasets.servicer(mining=models.mining, gate=own), models.servicer(own))
