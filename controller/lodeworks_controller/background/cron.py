"""The cron role: schedules fire."""

from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.firing import Firing

_TICK_S = 1.0


def start_cron(firing: Firing, *, ticks: Ticks) -> None:
    """Starts the role with the clockwork."""
    ticks.every(_TICK_S, "cron", firing.fire_due)
