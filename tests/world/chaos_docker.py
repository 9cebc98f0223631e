"""An installation whose runs are containers of a tiny image, and how these are killed."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos_installation import ChaosInstallation, RunningRun
from docker.errors import APIError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "python:3.11-slim"
EXECUTOR = "chaos-image"
_TAG = "lodeworks-test/chaos:1"
_PROGRAMS = ("chaos_container.py", "chaos_lines.py")
_DOCKERFILE = f"""FROM {BASE}
COPY {" ".join(_PROGRAMS)} /chaos/
CMD ["python3", "/chaos/chaos_container.py"]
"""
_TEMPLATE = "epochs: 1\nexport_format: voc:raw\n"
_KILLED = 137


def build_image(folder: Path, engine: Any) -> str:
    """Makes the image of what is on this machine, with no network, and returns its id."""
    folder.mkdir(parents=True)
    for name in _PROGRAMS:
        shutil.copy(Path(__file__).with_name(name), folder / name)
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    image, _ = engine.images.build(path=str(folder), tag=_TAG, network_mode="none", rm=True, forcerm=True)
    return str(image.id)


@dataclass(slots=True)
class ContainerInstallation(ChaosInstallation):
    """As its parent, with trainings in containers; `engine` is a client of the docker engine."""

    engine: Any = None
    image: str = ""
    worker_ids: list[str] = field(default_factory=list)

    drivers = ("process", "docker")
    executor = EXECUTOR

    def up(self) -> None:
        """Makes everything, the image too, and starts it."""
        self.image = build_image(self.folder / "image", self.engine)
        ChaosInstallation.up(self)
        with self.client() as client:
            client.executors.add(EXECUTOR, image=self.image, templates={"train": _TEMPLATE})
            self.worker_ids = [worker.id for worker in client.workers.list()]

    def down(self) -> None:
        """Stops everything, containers too."""
        ChaosInstallation.down(self)
        for container in self._containers(everything=True):
            with suppress(NotFound):
                container.remove(force=True, v=True)

    def running(self) -> Iterator[RunningRun]:
        """Yields the containers that run."""
        for container in self._containers():
            task_id = container.labels["lodeworks.task"]
            yield RunningRun(task_id, partial(_shoot, container), partial(_take_away, container))

    def left_behind(self) -> list[str]:
        """Returns the containers and the folders of runs that are still there."""
        names = [f"container {container.name}" for container in self._containers(everything=True)]
        return names + ChaosInstallation.left_behind(self)

    def _containers(self, *, everything: bool = False) -> list[Any]:
        found = []
        for worker_id in self.worker_ids:
            listed = self.engine.containers.list(
                all=everything, filters={"label": f"lodeworks.worker={worker_id}"}, ignore_removed=True
            )
            found += listed
        return sorted(found, key=lambda one: str(one.name))


def _shoot(container: Any) -> bool:
    """Kills a container that runs; says whether that ended it."""
    with suppress(APIError):  # it has ended, or is gone
        container.kill()
        return bool(container.wait()["StatusCode"] == _KILLED)
    return False


def _take_away(container: Any) -> None:
    """Kills a container and removes it with its log. One that ended by itself keeps it: nobody could have it again."""
    if _shoot(container):
        with suppress(APIError):
            container.remove(force=True, v=True)


def why_no_docker() -> str:
    """Returns why containers cannot be made here; empty where they can."""
    program = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
    if program is None:
        return "docker is not installed"
    asked = subprocess.run([program, "image", "inspect", BASE], capture_output=True, text=True, check=False, timeout=20)
    return "" if asked.returncode == 0 else f"no docker engine with the image {BASE}: {asked.stderr.strip()}"
