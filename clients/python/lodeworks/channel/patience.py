"""How often, and with which pauses, an interrupted transfer is taken up again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import grpc

from lodeworks.channel.backoff import Backoff
from lodeworks.channel.errors import TransferBrokenError
from lodeworks.channel.refusal import refusal_of

_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
# What grpc.aio itself says, instead of the server's refusal, when the server ends a stream that is still being sent.
_OVERTAKEN: Final = "Internal error from Core"


class Bearing(Protocol):
    """Decides whether a transfer that broke off is taken up again."""

    async def bear(self, error: grpc.RpcError) -> None:
        """Waits before the next try, or raises."""
        ...

    def progressed(self) -> None:
        """Notes that bytes moved."""
        ...


@dataclass(slots=True)
class Patience:
    """The tries that one transfer may spend without getting any further.

    Attributes:
        tries: How many interruptions in a row are borne.
        least_s: Seconds of waiting that are borne in any case, however many interruptions they hold.
        sleep: Waits for so many seconds.
        backoff: Chooses the seconds.
    """

    tries: int = 8
    least_s: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    backoff: Backoff = field(default_factory=lambda: Backoff(random.random, first_s=0.2, longest_s=10.0))
    _waited_s: float = 0.0

    async def bear(self, error: grpc.RpcError) -> None:
        """Waits before the next try.

        Raises:
            grpc.RpcError: The error itself, if a repeat cannot help.
            TransferBrokenError: The tries are used up.
        """
        refusal = refusal_of(error)
        overtaken = refusal.message == _OVERTAKEN and not refusal.answered
        if refusal.code not in _PASSING and refusal.retry_after_s is None and not overtaken:
            raise error
        if self.backoff.failures >= self.tries and self._waited_s >= self.least_s:
            raise TransferBrokenError(
                f"the transfer broke off {self.backoff.failures + 1} times without progress "
                f"({refusal.message or refusal.code.name}); check the network and repeat, what arrived is kept"
            ) from error
        pause_s = self.backoff.next_s(refusal.retry_after_s)
        self._waited_s += pause_s
        await self.sleep(pause_s)

    def progressed(self) -> None:
        """Notes that bytes moved; the tries begin anew."""
        self.backoff.reset()
        self._waited_s = 0.0


class SharedPatience:
    """The patience of one transfer that several streams work at: what interrupts all of them counts once.

    Args:
        patience: Theirs together.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pauses = 0
        self._pausing = asyncio.Lock()

    def one(self) -> Bearing:
        """Returns the share of one stream."""
        return _Share(self)

    async def bear(self, error: grpc.RpcError, *, pauses: int) -> int:
        """Waits, unless another stream has done so since the given number of pauses; returns their number."""
        async with self._pausing:
            if pauses == self._pauses:
                await self._patience.bear(error)
                self._pauses += 1
            return self._pauses

    def progressed(self) -> int:
        """Notes that bytes moved; returns the number of pauses."""
        self._patience.progressed()
        return self._pauses


class _Share:
    def __init__(self, shared: SharedPatience) -> None:
        self._shared = shared
        self._pauses = 0

    async def bear(self, error: grpc.RpcError) -> None:
        self._pauses = await self._shared.bear(error, pauses=self._pauses)

    def progressed(self) -> None:
        self._pauses = self._shared.progressed()
