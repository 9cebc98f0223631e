"""The cron role: schedules fire."""

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.firing import Firing
from lodeworks_controller.service.role import Role

_TICK_S = 1.0


def start_cron(firing: Firing, *, role: Role, ticks: Ticks) -> None:
    """Starts the role with the clockwork."""
    ticks.every(_TICK_S, "cron", while_held(role, firing.fire_due))
