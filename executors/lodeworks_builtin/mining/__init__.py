"""Mining strategies: one file each."""

from lodeworks_builtin.mining.base import Look, Strategy
from lodeworks_builtin.mining.registry import find_strategy, strategy_names

__all__ = ["Look", "Strategy", "find_strategy", "strategy_names"]
