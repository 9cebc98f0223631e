"""The finisher: runs that are over become objects."""

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.rouser import Rouser
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.finishing import Finishing
from lodeworks_controller.service.role import Role
from lodeworks_controller.service.wake import Wakes

_TICK_S = 1.0


def start_finisher(finishing: Finishing, *, role: Role, wakes: Wakes, ticks: Ticks) -> Rouser:
    """Starts the role; the ticks begin with the clockwork."""
    ticks.every(_TICK_S, "finisher", while_held(role, finishing.finish_ready))
    # What is handed over here while another controller is the finisher, that one finds by looking.
    finished = while_held(role, finishing.finish_handed, otherwise=wakes.finisher.forget)
    rouser = Rouser("finisher", wakes.finisher, finished)
    rouser.start()
    return rouser
