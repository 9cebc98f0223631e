"""How the worker starts its own executors for images: it needs no docker SDK to know that."""

import sys
from collections.abc import Mapping

from lodeworks_worker.config import PREFIX, Config
from lodeworks_worker.executors import Program

PULL_PROGRAM = "builtin:pull"
IMAGE_PROGRAMS = (PULL_PROGRAM, "builtin:check")
"""What the worker itself offers where it has a docker engine."""


def image_programs(config: Config) -> Mapping[str, Program]:
    """Returns the programs that fetch and prove images: the worker's own interpreter, told where its config is."""
    environment = {f"{PREFIX}STATE": str(config.state)}
    environment |= {} if config.file is None else {f"{PREFIX}CONFIG": str(config.file)}
    environment |= {} if config.docker_host is None else {f"{PREFIX}DOCKER_HOST": config.docker_host}
    environment |= {} if config.docker_user is None else {f"{PREFIX}DOCKER_USER": config.docker_user}
    command = (sys.executable, "-P", "-m", "lodeworks_worker.images")
    return {
        name: Program(command=(*command, name.partition(":")[2]), environment=environment) for name in IMAGE_PROGRAMS
    }
