"""Who kills at random while an installation works."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos_installation import ChaosInstallation


class Killer:
    """Kills something every so often until it is told to stop; remembers which runs it touched."""

    def __init__(self, world: ChaosInstallation, *, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)
        self.shot: set[str] = set()
        """Tasks whose program was killed: these may fail."""
        self.orphaned: set[str] = set()
        """Tasks whose shim or container was taken away: these begin again, or fail where their end was seen."""
        self.failures: list[str] = []

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what was killed runs again then."""
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert not self.failures, self.failures

    def _run(self) -> None:
        try:
            while not self._over.wait(self._random.uniform(0.3, 3.0)):
                self._kill_one()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.failures.append(repr(error))

    def _kill_one(self) -> None:
        runs = list(self._world.running())
        if self._random.random() < 0.4 and runs:
            run = self._random.choice(runs)
            if self._random.random() < 0.5:
                self.shot.add(run.task_id)
                run.shoot()
            else:
                self.orphaned.add(run.task_id)
                run.orphan()
            return
        program = self._random.choice(list(self._world.programs.values()))
        program.kill()
        time.sleep(self._random.choice((0.0, 0.1, self._random.uniform(0.0, 3.0))))
        program.start()
