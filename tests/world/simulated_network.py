"""A network between workers and controllers whose messages meet a fate, behind the face of a grpc channel.

The generated stubs call `SimulatedChannel`; the generated registration fills `Services`. What lies between is decided
per message by `Weather`: lost, late, twice, or its connection broken while the handler is at work.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_status import rpc_status
from lodeworks_controller.errors import LodeworksError
from lodeworks_controller.transport.errors import status_of
from simulated_loop import PARTY, Party

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from simulated_loop import SimulatedLoop

_USUAL_S = (0.0005, 0.02)
_PATIENCE = 0.2
"""Leases are shorter here than in life; so is the time that a call waits for an answer."""
_POLL_MARGIN_S = 12.0


@dataclass(frozen=True, slots=True)
class Weather:
    """What may happen to a message, by chance (0 to 1); empty `methods` = to each."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_s: float = 3.0
    cut: float = 0.0
    """The connection breaks while the handler works: it is cancelled, and the caller hears UNAVAILABLE."""
    methods: frozenset[str] = frozenset()


class BrokenCallError(grpc.RpcError):
    """A failed call as grpc.aio shows it."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: tuple[Any, ...] = ()) -> None:
        super().__init__(details)
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[Any, ...]:
        return self._metadata

    @staticmethod
    def refusal(error: LodeworksError) -> BrokenCallError:
        status = rpc_status.to_status(status_of(error))
        return BrokenCallError(status.code, status.details, tuple(status.trailing_metadata))


def _unavailable(why: str) -> BrokenCallError:
    return BrokenCallError(grpc.StatusCode.UNAVAILABLE, why)


@dataclass(slots=True)
class Services:
    """What one controller process serves; filled by the generated `add_…_to_server`."""

    party: Party
    name: str
    handlers: dict[str, Any] = field(default_factory=dict)

    def add_generic_rpc_handlers(self, _handlers: Any) -> None:
        """The registered ones below are the same."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler sees of its caller."""

    worker_id: str


@dataclass(slots=True, eq=False)
class _Call:
    """One call on its way."""

    number: int
    method: str
    request: Any
    caller: str
    party: Party | None
    worker_id: str
    server: Services
    answer: asyncio.Future[Any]
    handlers: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def short(self) -> str:
        return self.method.rpartition("/")[2]


class SimulatedNetwork:
    """Carries calls. `walls` are pairs of names that do not hear each other."""

    def __init__(self, loop: SimulatedLoop, *, seed: int, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._seed = seed
        self._say = say
        self._numbers: dict[str, int] = {}
        self._open: set[_Call] = set()
        self.calm = Weather()
        self.weather: dict[str, Weather] = {}
        self.walls: set[frozenset[str]] = set()
        self.faults: list[str] = []

    def behind_wall(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.walls

    async def call(
        self, server: Services | None, method: str, request: Any, *, caller: str, worker_id: str, timeout_s: float
    ) -> Any:
        """Calls and waits for the answer; raises BrokenCallError."""
        party = PARTY.get()
        if server is None or server.party.dead:
            await asyncio.sleep(0.005)
            raise _unavailable("connection refused")
        number = self._numbers[caller] = self._numbers.get(caller, 0) + 1
        call = _Call(number, method, request, caller, party, worker_id, server, self._loop.create_future())
        self._open.add(call)
        self._send(call)
        try:
            async with asyncio.timeout(timeout_s):
                return await call.answer
        except TimeoutError:
            raise BrokenCallError(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded") from None
        finally:
            self._open.discard(call)
            if not call.answer.done() or call.answer.cancelled():
                self._loop.in_sky(0.01, self._cancel_handlers, call)

    def hang_up(self, party: Party) -> None:
        """A process died: those it called stop working for it, and those who called it hear so."""
        for call in sorted(self._open, key=lambda one: (one.caller, one.number)):
            if call.party is party:
                self._open.discard(call)
                self._loop.in_sky(0.01, self._cancel_handlers, call)
            elif call.server.party is party:
                self._loop.in_sky(0.01, self._break, call, "connection reset")

    # --- the way there

    def _chance(self, call: _Call, what: str) -> random.Random:
        return random.Random(f"{self._seed} {call.caller} {call.number} {call.method} {what}")

    def _fate(self, call: _Call) -> Weather:
        for weather in self.weather.values():
            if not weather.methods or call.short in weather.methods:
                return weather
        return self.calm

    def _send(self, call: _Call) -> None:
        chance, weather = self._chance(call, "there"), self._fate(call)
        if chance.random() < weather.drop:
            self._say(f"{call.short} of {call.caller} is lost")
            if chance.random() < 0.7:
                self._loop.in_sky(chance.uniform(0.01, 0.5), self._break, call, "connection reset")
            return
        times = 2 if chance.random() < weather.duplicate else 1
        if times == 2:
            self._say(f"{call.short} of {call.caller} is sent twice")
        for _ in range(times):
            delay_s = chance.uniform(*_USUAL_S)
            if chance.random() < weather.delay:
                delay_s += chance.uniform(0, weather.delay_s)
                self._say(f"{call.short} of {call.caller} takes {delay_s:.1f} s")
            self._loop.in_sky(delay_s, self._arrive, call)
        if chance.random() < weather.cut:
            self._loop.in_sky(chance.uniform(0.001, 0.1), self._cut, call)

    def _arrive(self, call: _Call) -> None:
        server = call.server
        if self.behind_wall(call.caller, server.name):
            return
        if server.party.dead:
            self._break(call, "connection refused")
            return
        # A call whose caller has gone still arrives where it was on its way.
        call.handlers.append(self._loop.begin(server.party, self._serve(call), name=f"{call.short} {call.caller}"))

    async def _serve(self, call: _Call) -> None:
        handler = call.server.handlers[call.method]
        context = Context(call.worker_id)
        try:
            if handler.unary_unary:
                answer = await handler.unary_unary(call.request, context)
            elif handler.stream_unary:
                answer = await handler.stream_unary(_arriving(call.request), context)
            else:
                answer = [part async for part in handler.unary_stream(call.request, context)]
        except LodeworksError as error:
            self._reply(call, BrokenCallError.refusal(error))
        except Exception as error:  # noqa: BLE001
            self.faults.append(f"{call.short} of {call.caller}: {error!r}")
            self._reply(call, BrokenCallError(grpc.StatusCode.INTERNAL, "the controller failed on this call"))
        else:
            self._reply(call, answer)

    # --- and back

    def _reply(self, call: _Call, answer: Any) -> None:
        chance, weather = self._chance(call, "back"), self._fate(call)
        if chance.random() < weather.drop:
            self._say(f"the answer to {call.short} of {call.caller} is lost")
            if chance.random() < 0.7:
                self._loop.in_sky(chance.uniform(0.01, 0.5), self._break, call, "connection reset")
            return
        delay_s = chance.uniform(*_USUAL_S)
        if chance.random() < weather.delay:
            delay_s += chance.uniform(0, weather.delay_s)
            self._say(f"the answer to {call.short} of {call.caller} takes {delay_s:.1f} s")
        self._loop.in_sky(delay_s, self._hand_over, call, answer)

    def _hand_over(self, call: _Call, answer: Any) -> None:
        if call.answer.done() or self.behind_wall(call.caller, call.server.name):
            return
        if isinstance(answer, Exception):
            call.answer.set_exception(answer)
        else:
            call.answer.set_result(answer)

    def _break(self, call: _Call, why: str) -> None:
        if not call.answer.done():
            call.answer.set_exception(_unavailable(why))

    def _cut(self, call: _Call) -> None:
        if not call.answer.done():
            self._say(f"the connection of {call.caller} breaks in {call.short}")
            self._cancel_handlers(call)
            self._break(call, "connection reset")

    def _cancel_handlers(self, call: _Call) -> None:
        """A server cancels what it does for a caller who went away."""
        for handler in call.handlers:
            if not handler.done() and not call.server.party.dead:
                handler.cancel()


async def _arriving(parts: list[Any]) -> AsyncIterator[Any]:
    for part in parts:
        await asyncio.sleep(0.001)
        yield part


@dataclass(slots=True)
class SimulatedChannel:
    """A worker's channel: the face that the generated stubs know. Turns to the next controller when one fails."""

    network: SimulatedNetwork
    servers: Callable[[], list[Services | None]]
    caller: str
    worker_id: str
    _at: int = 0

    def unary_unary(self, method: str, **_more: Any) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
            return await self._call(method, request, timeout)

        return call

    def stream_unary(self, method: str, **_more: Any) -> Callable[..., Awaitable[Any]]:
        async def call(requests: AsyncIterator[Any], timeout: float | None = None) -> Any:  # noqa: ASYNC109
            return await self._call(method, [request async for request in requests], timeout)

        return call

    def unary_stream(self, method: str, **_more: Any) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109
            for part in await self._call(method, request, timeout):
                yield part

        return call

    async def _call(self, method: str, request: Any, timeout_s: float | None) -> Any:
        servers = self.servers()
        server = servers[self._at % len(servers)]
        timeout_s = timeout_s or 30.0
        timeout_s = timeout_s - _POLL_MARGIN_S if method.endswith("/Poll") else timeout_s * _PATIENCE
        try:
            return await self.network.call(
                server, method, request, caller=self.caller, worker_id=self.worker_id, timeout_s=timeout_s
            )
        except BrokenCallError as error:
            if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                self._at += 1
            raise


def calmer(weather: Weather, **changes: Any) -> Weather:
    """Returns the weather with some chances changed."""
    return replace(weather, **changes)
