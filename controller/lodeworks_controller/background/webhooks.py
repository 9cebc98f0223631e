"""The webhooks role: deliveries are sent as soon as they are there; ticks see to the later tries."""

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.rouser import Rouser
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.delivering import Delivering
from lodeworks_controller.service.role import Role
from lodeworks_controller.service.wake import Wakes

_TICK_S = 1.0


def start_webhooks(delivering: Delivering, *, role: Role, wakes: Wakes, ticks: Ticks) -> Rouser:
    """Starts the role; the ticks begin with the clockwork."""
    ticks.every(_TICK_S, "webhooks", while_held(role, delivering.send_due))
    rouser = Rouser("webhooks", wakes.webhooks, while_held(role, delivering.send_due))
    rouser.start()
    return rouser
