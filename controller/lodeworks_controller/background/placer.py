"""The placer: ready tasks get their runs, waiting ones their reasons."""

from lodeworks_controller.background.rouser import Rouser
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.planning import Planning
from lodeworks_controller.service.wake import Wakes

_TICK_S = 1.0


def start_placer(planning: Planning, *, wakes: Wakes, ticks: Ticks) -> Rouser:
    """Starts the role; the ticks begin with the clockwork."""

    async def tick() -> None:
        await planning.plan_ready()
        await planning.explain_waiting()
        await planning.give_up_late()

    ticks.every(_TICK_S, "placer", tick)
    rouser = Rouser("placer", wakes.placer, planning.plan_handed)
    rouser.start()
    return rouser
