"""The task engine: its services, and the roles that run beside the rpcs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from lodeworks_controller.background.finisher import start_finisher
from lodeworks_controller.background.outbox import start_outbox
from lodeworks_controller.background.placer import start_placer
from lodeworks_controller.background.reaper import start_reaper
from lodeworks_controller.background.roles import LeasedRoles, Roles, SoleRoles, while_held
from lodeworks_controller.background.ticks import Tick, Ticks
from lodeworks_controller.domain.task.retry import Backoff
from lodeworks_controller.service.attempt_end import AttemptEnd
from lodeworks_controller.service.checkpoint_service import CheckpointService
from lodeworks_controller.service.fan_out import FanOut
from lodeworks_controller.service.finishing import Finishing
from lodeworks_controller.service.granting import LOOK_AGAIN_S, GrantService
from lodeworks_controller.service.kinds.base import Kinds
from lodeworks_controller.service.lease import LeaseService
from lodeworks_controller.service.log import LogService, LogStore, MetricStore, TaskNews
from lodeworks_controller.service.planning import Planning
from lodeworks_controller.service.presence import Presence
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.reaping import Reaping
from lodeworks_controller.service.remembered_leases import RememberedLeases
from lodeworks_controller.service.reuse import Reuse
from lodeworks_controller.service.settlement import Settlement
from lodeworks_controller.service.task import TaskService
from lodeworks_controller.storage.logs.files import LogFiles, MetricFiles
from lodeworks_controller.storage.logs.sealed import SealedLogs, SharedMetrics
from lodeworks_controller.wiring.ground import Ground
from lodeworks_controller.wiring.version import program_version

_log = logging.getLogger(__name__)

_PRESENCE_S = 10.0
"""How often it is looked who is there."""

_RESIGN_S = 600.0
"""How often the signatures of the release repository are looked at."""


class Engine:
    """The task engine: services, and the roles that run beside the rpcs; `clockwork` makes what ticks them."""

    def __init__(self, ground: Ground, *, chance: Callable[[], float], clockwork: Callable[[], Ticks] = Ticks) -> None:
        store, wakes, terms = ground.store, ground.wakes, ground.terms
        self._ground = ground
        self._clockwork = clockwork
        self._also: list[tuple[float, str, Tick]] = []
        self.roles: Roles = SoleRoles(store)
        if ground.config.database_url:
            self.roles = LeasedRoles(store, holder=ground.ids(), holder_name=ground.config.controller_name)
        self.kinds = Kinds()
        self.log_store, self.metric_store = _log_stores(ground)
        self._settlement = Settlement(self.kinds, wakes=wakes)
        ends = AttemptEnd(wakes=wakes, backoff=Backoff(), chance=chance, meter=ground.meter)
        self.tasks = TaskService(store, settlement=self._settlement, enter=enter, wakes=wakes, ids=ground.ids)
        remembered = RememberedLeases()
        self.leases = LeaseService(
            store,
            ends=ends,
            wakes=wakes,
            ids=ground.ids,
            terms=terms,
            find_missing=ground.blobs.find_missing,
            log_tail=self._log_tail,
            meter=ground.meter,
            remembered=remembered,
        )
        self.checkpoints = CheckpointService(store, find_missing=ground.blobs.find_missing)
        self.grants = GrantService(
            store,
            wakes=wakes,
            terms=terms,
            chance=chance,
            meter=ground.meter,
            look_again_s=terms.poll_wait_s,
            remembered=remembered,
        )
        self.logs = LogService(self.log_store, self.metric_store, check=self.leases.check, wakes=wakes)
        self.news = TaskNews(self.tasks, self.log_store, self.metric_store, wakes=wakes)
        self._reaping = Reaping(self.roles.store("reaper"), ends=ends, wakes=wakes)

    async def _log_tail(self, task_id: str, lease_epoch: int) -> Sequence[str]:
        return await self.logs.tail(task_id, lease_epoch)

    async def _resign(self) -> None:
        if await self._ground.trust.repository.refresh():
            _log.info("the release repository was signed anew")

    def also(self, seconds: float, name: str, tick: Tick) -> None:
        """Adds what is to be done every so often by each controller."""
        self._also.append((seconds, name, tick))

    @asynccontextmanager
    async def _among_others(self) -> AsyncIterator[None]:
        """Hears the other controllers of the installation, where there may be some."""
        ground = self._ground
        if not ground.config.database_url:
            yield
            return
        from lodeworks_controller.storage.database.postgres_wakes import PostgresWakes  # noqa: PLC0415 (brings a driver)

        others = PostgresWakes(ground.config.database_url, origin=ground.ids(), hear=ground.wakes.hear)
        ground.wakes.among_others(others.tell)
        async with others.listening():
            yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the background roles."""
        ground = self._ground
        store, wakes, roles = ground.store, ground.wakes, self.roles
        ticks = self._clockwork()
        for seconds, name, tick in self._also:
            ticks.every(seconds, name, tick)
        await roles.start(ticks)
        ticks.every(LOOK_AGAIN_S, "look round", self.grants.look_round)
        planning = Planning(
            roles.store("placer"),
            self.kinds,
            settlement=self._settlement,
            wakes=wakes,
            terms=ground.terms,
            reuse=Reuse(store, find_missing=ground.blobs.find_missing, release=program_version()),
        )
        finishing = Finishing(
            roles.store("finisher"),
            self.kinds,
            settlement=self._settlement,
            wakes=wakes,
            at_once=ground.config.finish_at_once,
        )
        fan_out = FanOut(roles.store("outbox"), ids=ground.ids, wakes=wakes)
        rousers = [
            start_placer(planning, role=roles.role("placer"), wakes=wakes, ticks=ticks),
            start_finisher(finishing, role=roles.role("finisher"), wakes=wakes, ticks=ticks),
            start_outbox(fan_out, role=roles.role("outbox"), wakes=wakes, ticks=ticks),
        ]
        start_reaper(self._reaping, role=roles.role("reaper"), terms=ground.terms, ticks=ticks)
        presence = Presence(roles.store("reaper"), terms=ground.terms, wakes=wakes)
        ticks.every(_PRESENCE_S, "presence", while_held(roles.role("reaper"), presence.look))
        ticks.every(_RESIGN_S, "release repository", while_held(roles.role("signer"), self._resign))
        for signal in (wakes.placer, wakes.finisher, wakes.outbox):
            signal.set()  # what waited while the controller was away
        ticks.start()
        try:
            async with self._among_others():
                yield
        finally:
            ticks.stop()
            await asyncio.gather(*(rouser.stop() for rouser in rousers))
            await asyncio.gather(planning.stop(), finishing.stop(), self.leases.stop())
            await roles.give_back()


def _log_stores(ground: Ground) -> tuple[LogStore, MetricStore]:
    """Returns files where there is one controller; where there may be several, what they can share."""
    if ground.config.database_url:
        return SealedLogs(ground.store, ground.blobs), SharedMetrics(ground.store)
    return LogFiles(ground.config.logs), MetricFiles(ground.config.logs)
