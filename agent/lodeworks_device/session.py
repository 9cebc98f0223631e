"""The conversation with the controller: one long poll that waits for wishes, and reports as soon as there is news."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lodeworks.channel.backoff import Backoff

from lodeworks_device.control_plane import Answer, ControlPlane, Report
from lodeworks_device.desired import Signed
from lodeworks_device.errors import DocumentError, RefusedError, UnreachableError
from lodeworks_device.reporter import Reporter

_WAIT_S = 60.0
_AT_ONCE_S = 0.001
_REFUSED_PAUSE_S = 60.0
_GATHER_S = 0.02


@dataclass(frozen=True, slots=True)
class Talk:
    """How this start of the agent is told from others, and how long to pause between tries."""

    boot_id: str
    backoff: Backoff


class Conversation:
    """Speaks with the controller until cancelled; a controller that is not there stops nothing.

    Args:
        control: The controller.
        reporter: What there is to say.
        talk: Identity of this start, and patience.
        observed: Returns the highest generation accepted.
        take: Verifies and accepts a desired state; raises DocumentError or UnreachableError.
        troubled: Called when the controller cannot be reached, so that a certificate that ended can be renewed.
        log: Where to say what happens.
        learn: Told each answer, for what it says beside the desired state.
    """

    def __init__(
        self,
        control: ControlPlane,
        reporter: Reporter,
        talk: Talk,
        *,
        observed: Callable[[], int],
        take: Callable[[Signed], Awaitable[None]],
        troubled: Callable[[], Awaitable[None]],
        log: logging.Logger,
        learn: Callable[[Answer], Awaitable[None]] | None = None,
    ) -> None:
        self._learn = learn
        self._control = control
        self._reporter = reporter
        self._talk = talk
        self._observed = observed
        self._take = take
        self._troubled = troubled
        self._log = log
        self._seq = 0
        self._news = asyncio.Event()
        self._taking = asyncio.Lock()
        self._last: Signed | None = None
        self.connected = False

    def tell(self) -> None:
        """Says that there may be news to report."""
        self._news.set()

    async def hold(self) -> None:
        """Converses until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(), name="poll")
            group.create_task(self._report(), name="report")

    async def _poll(self) -> None:
        # The first call asks without waiting: whether the controller is there shows at once.
        wait_s = _AT_ONCE_S
        while True:
            answer = await self._sync(wait_s)
            wait_s = _WAIT_S
            if self._learn is not None:
                await self._learn(answer)
            pause_s = answer.retry_after_s
            if answer.desired is not None and not await self._taken(answer.desired):
                # The same one would come again at once.
                pause_s = max(pause_s, self._talk.backoff.next_s())
            await asyncio.sleep(pause_s)

    async def _report(self) -> None:
        told = self._reporter.lasting()
        while True:
            await self._news.wait()
            await asyncio.sleep(_GATHER_S)
            self._news.clear()
            lasting = self._reporter.lasting()
            if lasting == told:
                continue
            # A call of its own: the open poll must not be cancelled for it, that would leak memory in grpc.
            answer = await self._sync(_AT_ONCE_S)
            told = lasting
            if answer.desired is not None:
                await self._taken(answer.desired)

    async def _sync(self, wait_s: float) -> Answer:
        """Calls until there is an answer."""
        while True:
            self._seq += 1
            report = Report(
                observed_generation=self._observed(),
                boot_id=self._talk.boot_id,
                seq=self._seq,
                state=self._reporter.report(boot_id=self._talk.boot_id, seq=self._seq),
            )
            try:
                answer = await self._control.sync(report, wait_s=wait_s)
            except UnreachableError as error:
                self._note(str(error), connected=False)
                await self._troubled()
                await asyncio.sleep(self._talk.backoff.next_s(error.retry_after_s))
            except RefusedError as error:
                self._note(f"{error} ({error.reason or 'no reason'})", connected=False)
                await asyncio.sleep(_REFUSED_PAUSE_S)
            else:
                self._note("", connected=True)
                self._talk.backoff.reset()
                return answer

    async def _taken(self, signed: Signed) -> bool:
        """Takes a desired state; says whether it is settled, one way or the other."""
        async with self._taking:
            if signed == self._last:
                return True
            try:
                await self._take(signed)
            except UnreachableError as error:
                self._note(str(error), connected=False)
                return False
            except (OSError, sqlite3.Error) as error:
                self._log.error("a desired state cannot be stored: %s", error)
                return False
            except (DocumentError, RefusedError) as error:
                self._log.error("a desired state is refused: %s", error)
                self._reporter.refused = error if isinstance(error, DocumentError) else None
                self._news.set()
                return False
            self._last = signed
            self._reporter.refused = None
            return True

    def _note(self, trouble: str, *, connected: bool) -> None:
        if connected != self.connected or (self._seq == 1 and trouble):
            self.connected = connected
            self._log.log(
                logging.INFO if connected else logging.WARNING,
                "%s",
                "the controller answers" if connected else f"the controller is not to be had, serving on: {trouble}",
            )
