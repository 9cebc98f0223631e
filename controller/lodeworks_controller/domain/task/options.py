"""What the maker of a task may ask for beside its inputs; the same for every kind."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from lodeworks_controller.errors import InvalidError

INFRASTRUCTURE_RETRIES: Final = 2
_MOST_RETRIES: Final = 100
_MOST_GPUS: Final = 1_024
_LONGEST_S: Final = 366 * 86_400.0


def _within(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:
        raise InvalidError("TASK_OPTIONS", f"{name} lies between 0 and {most:g}", field=name)


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Place, limits, budgets and order of a task. Times in seconds, 0 = for ever."""

    priority: int = 0
    gpus: int = 0
    labels: str = ""
    only_free_gpus: bool = False
    retries: int | None = None
    """After failures of the executor; None = none."""
    infrastructure_retries: int | None = None
    """After failures of the platform; None = INFRASTRUCTURE_RETRIES."""
    start_timeout_s: float = 0.0
    run_timeout_s: float = 0.0
    stall_timeout_s: float = 0.0
    after: tuple[str, ...] = ()
    reuse: bool = False
    """Whether the outputs of an equal earlier task are taken instead of a run."""

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        for name in ("retries", "infrastructure_retries"):
            _within(name, getattr(self, name) or 0, _MOST_RETRIES)
        _within("gpus", self.gpus, _MOST_GPUS)
        for name in ("start_timeout_s", "run_timeout_s", "stall_timeout_s"):
            _within(name, getattr(self, name), _LONGEST_S)
        if self.only_free_gpus and not self.gpus:
            raise InvalidError("TASK_OPTIONS", "only free GPUs are wanted, but no GPU is; ask for some", field="gpus")

    def to_json(self) -> dict[str, Any]:
        """Returns what differs from the default, as JSON values."""
        told = {name: value for name, value in asdict(self).items() if value != getattr(_NONE, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}


_NONE: Final = TaskOptions()


def options_from(told: Mapping[str, Any]) -> TaskOptions:
    """Returns the options that JSON values tell; keys of a newer program are passed over."""
    known = {field.name for field in fields(TaskOptions)}
    values = {name: value for name, value in told.items() if name in known}
    return TaskOptions(**{**values, "after": tuple(values.get("after", ()))})
