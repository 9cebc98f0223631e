"""The worker's conversation with its controller: Register, then Poll and Report side by side, again and again."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lodeworks_worker.control_plane import (
    ControlPlane,
    Directive,
    DirectiveKind,
    Fingerprint,
    Health,
    Polled,
    Session,
    Verdict,
)
from lodeworks_worker.errors import SessionLostError, SupersededError, UnreachableError, WorkerError
from lodeworks_worker.runs import Runs

_T = TypeVar("_T")
_USED_WAIT_S = 5.0
_FULL_WAIT_S = 1.0
# A session lost this often in so short a time is no restart of the controller: two processes share one key.
_RIVAL_LOSSES = 5
_RIVAL_WINDOW_S = 60.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 1.0


class OpenSession:
    """The session that is open now, for whoever has to wait for one."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._id = ""

    def set(self, session_id: str) -> None:
        """Opens."""
        self._id = session_id
        self._open.set()

    def clear(self) -> None:
        """Closes: whoever asks waits for the next one."""
        self._open.clear()

    async def id(self) -> str:
        """Returns the id, waiting for a session to be open."""
        await self._open.wait()
        return self._id


class Conversation:
    """Keeps a session open, takes grants and orders, reports.

    `nudge` is set by whoever has something to report at once. `chance` spreads reconnections, 0 to 1. `learn` is told
    each answer to a poll.
    """

    def __init__(
        self,
        control: ControlPlane,
        runs: Runs,
        *,
        boot_id: str,
        fingerprint: Fingerprint,
        session: OpenSession,
        nudge: asyncio.Event,
        health: Callable[[], Health],
        used_gpus: Callable[[Sequence[str]], Awaitable[Sequence[str]]] | None = None,
        chance: Callable[[], float],
        log: logging.Logger,
        learn: Callable[[Polled], None] | None = None,
    ) -> None:
        self._learn = learn
        self._control = control
        self._runs = runs
        self._boot_id = boot_id
        self._fingerprint = fingerprint
        self._session = session
        self._nudge = nudge
        self._health = health
        self._used_gpus = used_gpus
        self._chance = chance
        self._log = log
        self._draining = False

    async def hold(self) -> None:
        """Converses until cancelled. Raises SupersededError, RemovedError or RefusedError when there is no going on."""
        lost_at: list[float] = []
        while True:
            fatal: Exception | None = None
            try:
                await self._converse()
            except* SessionLostError as lost:
                self._log.info("registering again: %s", lost.exceptions[0])
                now = asyncio.get_running_loop().time()
                lost_at = [*[at for at in lost_at if now - at < _RIVAL_WINDOW_S], now]
            except* WorkerError as group:
                fatal = group.exceptions[0]
            except* Exception as group:  # noqa: BLE001 - the runs need their worker whatever its mistake was
                # What was not acted upon comes again.
                self._log.error("unexpected; registering again soon", exc_info=group.exceptions[0])
                await asyncio.sleep(_LONGEST_PAUSE_S * (0.5 + self._chance() / 2))
            if fatal is not None:
                raise fatal
            if len(lost_at) >= _RIVAL_LOSSES:
                raise SupersededError(
                    "another process runs with this worker's key and takes its session each time; stop one of them"
                )

    async def _converse(self) -> None:
        """Opens a session and keeps it until something breaks it off."""
        opened = await self._persistently(self._register)
        self._log.info("session %s is open", opened.epoch)
        self._session.set(opened.id)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._poll(opened), name="poll")
                group.create_task(self._report(opened), name="report")
        finally:
            self._session.clear()

    async def _register(self) -> Session:
        opened = await self._control.register(
            boot_id=self._boot_id, fingerprint=self._fingerprint, held=self._runs.held()
        )
        for task_id in opened.kill:
            await self._runs.drop_task(task_id)
        return opened

    async def _poll(self, opened: Session) -> None:
        acted = 0
        while True:
            slots = 0 if self._draining else self._runs.free_slots()
            # A full worker asks again soon: a slot that frees must not wait for a poll that said there was none.
            wait_s = opened.poll_wait_s if slots else min(_FULL_WAIT_S, opened.poll_wait_s)
            used = await self._used_gpus(self._runs.free_gpus()) if self._used_gpus is not None and slots else ()
            if used:
                wait_s = min(_USED_WAIT_S, wait_s)  # who uses them now may be gone soon
            asked = self._polling(opened, slots=slots, wait_s=wait_s, acted=acted, used=used)
            polled = await self._persistently(asked)
            if self._learn is not None:
                self._learn(polled)
            for directive in sorted(polled.directives, key=lambda one: one.seq):
                await self._act(directive)
                acted = max(acted, directive.seq)
            for grant in polled.grants:
                if await self._runs.accept(grant):
                    self._log.info("granted %s: %s %s", grant.name, grant.run.executor, grant.title)
            if polled.grants:
                self._nudge.set()

    def _polling(
        self, opened: Session, *, slots: int, wait_s: float, acted: int, used: Sequence[str]
    ) -> Callable[[], Awaitable[Polled]]:
        return lambda: self._control.poll(
            opened.id,
            max_leases=slots,
            wait_s=wait_s,
            have_directive_seq=acted,
            free_gpus=self._runs.free_gpus(),
            used_gpus=used,
        )

    async def _act(self, directive: Directive) -> None:
        self._log.info("ordered: %s %s", directive.kind.value, directive.task_id)
        if directive.kind is DirectiveKind.CANCEL:
            await self._runs.cancel(directive.task_id, directive.lease_epoch)
        elif directive.kind is DirectiveKind.KILL:
            await self._runs.drop(directive.task_id, directive.lease_epoch)
        else:
            self._draining = directive.kind is DirectiveKind.DRAIN

    async def _report(self, opened: Session) -> None:
        seq = 0
        while True:
            self._nudge.clear()
            seq += 1
            number = seq

            async def tell(number: int = number) -> None:
                answers = await self._control.report(
                    opened.id, seq=number, leases=self._runs.reports(), health=self._health()
                )
                for answer in answers:
                    if answer.verdict is Verdict.LOST:
                        await self._runs.drop(answer.task_id, answer.lease_epoch)
                    elif answer.verdict is Verdict.CANCEL:
                        await self._runs.cancel(answer.task_id, answer.lease_epoch)

            await self._persistently(tell)
            # Not wait_for: before Python 3.12 it can swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(opened.report_interval_s):
                    await self._nudge.wait()

    async def _persistently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Repeats a call while the controller does not answer; all of them are safe to repeat."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await call()
            except UnreachableError as error:
                if pause_s == _FIRST_PAUSE_S:
                    self._log.warning("the controller does not answer, trying on: %s", error)
                await asyncio.sleep(pause_s * (0.5 + self._chance() / 2))
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
