"""The outbox: events are handed on as soon as they are there; ticks cover for signals that were lost."""

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.rouser import Rouser
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.fan_out import FanOut
from lodeworks_controller.service.role import Role
from lodeworks_controller.service.wake import Wakes

_TICK_S = 5.0
_PRUNE_S = 3_600.0
_GATHER_S = 0.2


def start_outbox(fan_out: FanOut, *, role: Role, wakes: Wakes, ticks: Ticks) -> Rouser:
    """Starts the role; the ticks begin with the clockwork."""
    ticks.every(_TICK_S, "outbox", while_held(role, fan_out.hand_on))
    ticks.every(_PRUNE_S, "pruning", while_held(role, fan_out.prune))
    rouser = Rouser("outbox", wakes.outbox, while_held(role, fan_out.hand_on), gather_s=_GATHER_S)
    rouser.start()
    return rouser
