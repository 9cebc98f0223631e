"""Random fault schedules: made from a seed, played in a simulated installation, judged, made small when they fail."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fault_invariants import broken
from simulated_installation import Installation, Plan, Wish
from simulated_loop import LivelockError
from simulated_network import Weather

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_FAULTY_S = 20.0
_AFTER_S = 2.5
_CLEARED_S = 40.0
_MOST_REPLAYS = 120
_METHODS = ("Register", "Poll", "Report", "Complete", "Append", "FindMissing", "BatchPut")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at a time (s); `lasts_s` is how long it is so."""

    at: float
    what: str
    name: str = ""
    lasts_s: float = 0.0
    more: Any = None

    def __str__(self) -> str:
        lasting = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at:6.2f} {self.what} {self.name}{lasting} {'' if self.more is None else self.more}".rstrip()


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is wished for and what goes wrong."""

    seed: int
    plan: Plan
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """How a schedule went."""

    schedule: Schedule
    broken: tuple[str, ...]
    trace: tuple[tuple[float, str], ...] = field(default=(), repr=False)

    def story(self, *, lines: int = 120) -> str:
        """Returns what was planned, what happened, and what is wrong with it."""
        plan = self.schedule.plan
        told = [f"seed {self.schedule.seed}: {plan}", *map(str, self.schedule.events), "--"]
        told += [f"{at:8.3f} {what}" for at, what in self.trace[-lines:]]
        return "\n".join([*told, "--", *self.broken])


def made(seed: int) -> Schedule:
    """Returns the schedule of a seed."""
    chance = random.Random(f"schedule {seed}")
    plan = Plan(
        controllers=1 + (chance.random() < 0.4),
        machines=chance.choice((1, 2, 2, 3)),
        gpus=chance.choice((0, 1, 1, 2)),
        max_runs=chance.choice((1, 2, 2, 3)),
    )
    events = [*_wishes(chance, plan), *_faults(chance, plan)]
    return Schedule(seed, plan, tuple(sorted(events, key=lambda event: event.at)))


def _wishes(chance: random.Random, plan: Plan) -> list[Event]:
    made_so_far: list[Event] = []
    labels: list[str] = []
    for number in range(chance.randint(2, 5)):
        label = f"t{number}"
        exits = (3, 0) if chance.random() < 0.15 else (0,)
        wish = Wish(
            label,
            run_for_s=chance.choice((0.0, 0.5, 2.0, 4.0, 7.0)),
            lines=chance.choice((0, 3, 20)),
            exits=exits,
            dies=(True, False) if chance.random() < 0.08 else (False,),
            refuses=(True, False) if chance.random() < 0.05 else (False,),
            ignores_term=chance.random() < 0.1,
            gpus=chance.choice((0, 0, 1, 2)) if plan.gpus > 1 else chance.choice((0, 1)) if plan.gpus else 0,
            priority=chance.choice((0, 0, 5)),
            parents=tuple(chance.sample(labels, 1)) if labels and chance.random() < 0.3 else (),
            user_retries=chance.choice((0, 1)),
            spec=(("moody", 0.5),)
            if chance.random() < 0.15
            else (("bad_output", 1),)
            if chance.random() < 0.05
            else (),
            run_timeout_s=chance.choice((0.0, 0.0, 0.0, 3.0)),
            lost_after_s=chance.choice((0.5, 3.0, 8.0)),
            repeats=chance.choice((1, 1, 2)),
        )
        labels.append(label)
        made_so_far.append(Event(chance.choice((0.0, 0.0, chance.uniform(0, 10))), "submit", label, more=wish))
    for label in labels:
        if chance.random() < 0.2:
            made_so_far.append(Event(chance.uniform(0.1, _FAULTY_S), "cancel", label))
        if chance.random() < 0.15:
            made_so_far.append(Event(chance.uniform(6, _FAULTY_S), "retry", label))
    # Parents are wished for before their children.
    times = {event.name: event.at for event in made_so_far if event.what == "submit"}
    return [
        replace(event, at=max(event.at, *(times[parent] + 0.5 for parent in event.more.parents)))
        if event.what == "submit" and event.more.parents
        else event
        for event in made_so_far
    ]


def _faults(chance: random.Random, plan: Plan) -> list[Event]:
    controllers = [f"c{number}" for number in range(plan.controllers)]
    machines = [f"m{number}" for number in range(plan.machines)]
    found = []
    for _ in range(chance.randint(1, 8)):
        if chance.random() < 0.2:
            found += _away(chance, chance.choice(machines), controllers)
            continue
        at, lasts_s = chance.uniform(0.0, _FAULTY_S), chance.choice((0.2, 1.0, 3.0, 7.0, 16.0)) * chance.uniform(0.5, 1)
        what = chance.choice(
            ("weather", "weather", "kill", "kill", "freeze", "wall", "reboot", "rival", "jump", "skew")
        )
        name, more = chance.choice(controllers + machines), None
        if what == "weather":
            name, more = "network", _weather(chance)
        elif what == "wall":
            name, more = chance.choice(machines), chance.choice(controllers)
        elif what in {"reboot", "rival", "skew"}:
            name = chance.choice(machines)
        if what in {"jump", "skew"}:
            more = chance.choice((-1, 1)) * chance.choice((0.5, 5.0, 30.0, 300.0))
            name = "database" if what == "jump" else name
        found.append(Event(at, what, name, lasts_s, more))
    return found


def _away(chance: random.Random, machine: str, controllers: list[str]) -> list[Event]:
    """Takes a machine away for so long that its leases are lost; its outcome may come back before its report."""
    at, lasts_s = chance.uniform(0.0, 8.0), chance.uniform(6.0, 14.0)
    found = [Event(at, "wall", machine, lasts_s, name) for name in controllers]
    if chance.random() < 0.7:
        deaf = Weather(drop=0.9, methods=frozenset({"Report"}))
        found.append(Event(at, "weather", "network", lasts_s + chance.uniform(1.0, 8.0), deaf))
    return found


def _weather(chance: random.Random) -> Weather:
    kind = chance.choice(("drop", "duplicate", "delay", "cut", "all"))
    methods = frozenset(chance.sample(_METHODS, chance.randint(1, 3))) if chance.random() < 0.5 else frozenset()
    rate = chance.choice((0.05, 0.3, 0.7))
    if kind == "all":
        return Weather(drop=rate / 3, duplicate=rate / 3, delay=rate / 3, cut=rate / 3, methods=methods)
    return replace(Weather(delay_s=chance.choice((1.0, 6.0, 20.0)), methods=methods), **{kind: rate})


# --- playing


def play(schedule: Schedule, folder: Path, *, mutate: Callable[[Installation], None] | None = None) -> Played:
    """Plays a schedule from beginning to end and judges it."""
    installation = Installation(schedule.seed, folder, schedule.plan)
    if mutate is not None:
        mutate(installation)
    with installation.listening():
        try:
            wrong = installation.loop.run(_drama(installation, schedule.events))
        except LivelockError as error:
            wrong = [str(error)]
        finally:
            installation.loop.close()
    if wrong:
        installation.tell_history()
    return Played(schedule, tuple(wrong), tuple(installation.trace))


async def _drama(installation: Installation, events: Sequence[Event]) -> list[str]:
    await installation.set_up()
    begin = installation.loop.time()
    deeds = []
    for event in events:
        await asyncio.sleep(max(0.0, begin + event.at - installation.loop.time()))
        deeds.append(asyncio.create_task(happen(installation, event)))
    rest = begin + _FAULTY_S - installation.loop.time()
    await asyncio.sleep(max(0.0, rest))
    installation.heal()
    for deed in deeds:
        deed.cancel()
    await asyncio.wait(deeds)
    installation.heal()
    failed = [repr(deed.exception()) for deed in deeds if not deed.cancelled() and deed.exception() is not None]
    settled = await installation.settle()
    deadline = installation.loop.time() + _CLEARED_S
    await asyncio.sleep(_AFTER_S)  # for the last notices, and for workers to clear up
    while settled and installation.left_behind() and installation.loop.time() < deadline:
        installation.supervise()
        await asyncio.sleep(_AFTER_S)
    return failed + await broken(installation, settled=settled)


async def happen(installation: Installation, event: Event) -> None:
    """Lets one event happen, and end."""
    name = event.name
    if event.what == "submit":
        await installation.submit(event.more)
    elif event.what == "cancel":
        await installation.cancel(name)
    elif event.what == "retry":
        await installation.retry(name)
    elif event.what == "jump":
        installation.say(f"the database's clock jumps by {event.more} s")
        installation.skew_s += event.more
    elif event.what == "skew":
        installation.say(f"the clock of {name} jumps by {event.more} s")
        installation.machines[name].skew_s += event.more
    else:
        await _for_a_while(installation, event)


async def _for_a_while(installation: Installation, event: Event) -> None:
    name = event.name
    if event.what == "weather":
        key = str(event)
        installation.say(f"weather: {event.more}")
        installation.network.weather[key] = event.more
        await asyncio.sleep(event.lasts_s)
        installation.network.weather.pop(key, None)
    elif event.what == "kill":
        installation.kill(name)
        await asyncio.sleep(event.lasts_s)
        installation.start(name)
    elif event.what == "reboot":
        installation.kill(name)
        installation.machines[name].reboot()
        await asyncio.sleep(event.lasts_s)
        installation.start(name)
    elif event.what == "freeze":
        installation.freeze(name)
        await asyncio.sleep(event.lasts_s)
        installation.thaw(name)
    elif event.what == "wall":
        wall = frozenset((name, event.more))
        installation.say(f"{name} and {event.more} do not hear each other")
        installation.network.walls.add(wall)
        await asyncio.sleep(event.lasts_s)
        installation.network.walls.discard(wall)
    elif event.what == "rival":
        rival = installation.add_rival(name)
        await asyncio.sleep(event.lasts_s)
        installation.remove_rival(rival)


# --- making it small


def smallest(failed: Played, folder: Path, *, mutate: Callable[[Installation], None] | None = None) -> Played:
    """Takes out of a schedule what it fails without, and returns how the rest went."""
    best, left = failed, _MOST_REPLAYS
    size = max(1, len(best.schedule.events) // 2)
    while size:
        start, shrunk = 0, False
        while start < len(best.schedule.events) and left > 0:
            events = best.schedule.events
            fewer = events[:start] + events[start + size :]
            left -= 1
            again = play(replace(best.schedule, events=fewer), folder, mutate=mutate)
            if again.broken:
                best, shrunk = again, True
            else:
                start += size
        if not shrunk or size > 1:
            size //= 2
    return best
