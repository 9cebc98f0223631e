"""The role that lets go of what only deleted dataset versions had, so that the collection of content finds it."""

import logging
from typing import Final

from lodeworks_controller.background.roles import while_held
from lodeworks_controller.background.ticks import Ticks
from lodeworks_controller.service.dataset_release import DatasetRelease
from lodeworks_controller.service.role import Role

_log = logging.getLogger(__name__)

_TICK_S: Final = 300.0


def start_releaser(release: DatasetRelease, *, role: Role, ticks: Ticks) -> None:
    """Looks every few minutes."""

    async def tick() -> None:
        count = await release.run()
        if count:
            _log.info("let go of what %d deleted dataset versions had", count)

    ticks.every(_TICK_S, "releaser", while_held(role, tick))
