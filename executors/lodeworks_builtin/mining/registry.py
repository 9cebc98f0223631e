"""Mining strategies by name."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from lodeworks_executor.errors import BadSettingError

from lodeworks_builtin.mining.aldd import aldd
from lodeworks_builtin.mining.base import MeasuredStrategy
from lodeworks_builtin.mining.cald import cald
from lodeworks_builtin.mining.diversity import DiversityStrategy, kcenter, typiclust
from lodeworks_builtin.mining.hybrid import HybridStrategy
from lodeworks_builtin.mining.random import RandomStrategy
from lodeworks_builtin.mining.uncertainty import entropy, least_confidence, margin

if TYPE_CHECKING:
    from lodeworks_builtin.mining.base import Strategy

GROUP = "lodeworks.mining"


def find_strategy(name: str) -> Strategy:
    """Returns a strategy, ours or an installed package's; raises BadSettingError that names what there is."""
    for strategy in _built_in():
        if strategy.name == name:
            return strategy
    for entry in entry_points(group=GROUP, name=name):
        offered: Strategy = entry.load()()
        return offered
    raise BadSettingError("strategy", f"wants one of {', '.join(strategy_names())}, not {name!r}")


def strategy_names() -> list[str]:
    """Returns the names of all strategies, sorted."""
    return sorted({one.name for one in _built_in()} | {entry.name for entry in entry_points(group=GROUP)})


def _built_in() -> tuple[Strategy, ...]:
    return (
        HybridStrategy(),
        RandomStrategy(),
        MeasuredStrategy("entropy", entropy),
        MeasuredStrategy("least_confidence", least_confidence),
        MeasuredStrategy("margin", margin),
        MeasuredStrategy("aldd", aldd),
        MeasuredStrategy("cald", cald),
        DiversityStrategy("kcenter", kcenter),
        DiversityStrategy("typiclust", typiclust),
    )
