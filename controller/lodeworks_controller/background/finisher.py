"""The finisher: runs that are over become objects."""

from lodeworks_controller.background.rouser import Rouser
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.finishing import Finishing
from lodeworks_controller.service.wake import Wakes

_TICK_S = 1.0


def start_finisher(finishing: Finishing, *, wakes: Wakes, ticks: Ticks) -> Rouser:
    """Starts the role; the ticks begin with the clockwork."""
    ticks.every(_TICK_S, "finisher", finishing.finish_ready)
    rouser = Rouser("finisher", wakes.finisher, finishing.finish_ready)
    rouser.start()
    return rouser
