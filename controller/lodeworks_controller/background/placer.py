"""The placer: ready tasks get their runs, waiting ones their reasons."""

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.rouser import Rouser
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.planning import Planning
from lodeworks_controller.service.role import Role
from lodeworks_controller.service.wake import Wakes

_TICK_S = 1.0


def start_placer(planning: Planning, *, role: Role, wakes: Wakes, ticks: Ticks) -> Rouser:
    """Starts the role; the ticks begin with the clockwork."""

    async def tick() -> None:
        await planning.plan_ready()
        await planning.explain_waiting()
        await planning.give_up_late()

    ticks.every(_TICK_S, "placer", while_held(role, tick))
    # What is handed over here while another controller is the placer, that one finds by looking.
    planned = while_held(role, planning.plan_handed, otherwise=wakes.placer.forget)
    rouser = Rouser("placer", wakes.placer, planned)
    rouser.start()
    return rouser
