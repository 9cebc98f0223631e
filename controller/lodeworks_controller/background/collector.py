"""The collector: a whole pass now and then; in between it goes on where a dead one left off."""

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.collection import Collection
from lodeworks_controller.service.role import Role

PASS_S = 3_600.0
GO_ON_S = 60.0


def start_collector(collection: Collection, *, role: Role, ticks: Ticks) -> None:
    """Starts the role with the clockwork."""

    async def whole_pass() -> None:
        await collection.run()

    async def go_on() -> None:
        await collection.sweep()

    ticks.every(PASS_S, "collector", while_held(role, whole_pass))
    ticks.every(GO_ON_S, "collector's rest", while_held(role, go_on))
