"""How an executor of a grant is started here: which driver, which program or image, with what around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lodeworks_worker.drivers.base import Launch
from lodeworks_worker.errors import LaunchError
from lodeworks_worker.grant import Grant
from lodeworks_worker.outcome import FailureReason
from lodeworks_worker.staging.plan import Roots, shm_bytes

_DETECTOR = "detector"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that speaks the executor protocol.

    With `private_mounts` it gets the real /in and /out in a mount namespace of its own.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    private_mounts: bool = False
    lock_digest: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A driver by name, and the launch without its folder."""

    driver: str
    read_only_in: bool
    program: Program | None = None
    image: str | None = None

    @property
    def environment_digest(self) -> str:
        """What the attempt records: the image's digest, or that of the environment's lock."""
        if self.image is not None:
            return self.image.rpartition("@")[2]
        return "" if self.program is None else self.program.lock_digest

    def roots(self, folder: Path) -> Roots:
        """Returns where the executor sees /in and /out."""
        if self.program is None or self.program.private_mounts:
            return Roots(folder)
        return Roots.mapped(folder)

    def launch(self, grant: Grant, *, folder: Path) -> Launch:
        """Returns the launch of a grant in its folder."""
        environment: dict[str, str] = {}
        if self.program is not None:
            environment = {**self.program.environment, "LODE_ENV_FILE": f"{self.roots(folder).seen_in}/env.yaml"}
        return Launch(
            task_id=grant.task_id,
            lease_epoch=grant.lease_epoch,
            folder=folder,
            image=self.image,
            command=() if self.program is None else self.program.command,
            environment=environment,
            gpus=grant.gpu_uuids,
            shm_size_bytes=shm_bytes(grant),
            memory_bytes=grant.run.resources.memory_bytes,
            cpus=grant.run.resources.cpus,
            network=grant.run.policy.network or None,
            user=grant.run.policy.user,
            private_mounts=self.program is not None and self.program.private_mounts,
        )


@dataclass(frozen=True, slots=True)
class Executors:
    """What this worker can start: programs by `builtin:<name>` and `executor:<name>`, and images where docker is.

    With `everything` set, a driver of that name gets whatever comes (the fake one).
    """

    programs: Mapping[str, Program]
    image_driver: str | None = None
    program_driver: str = "process"
    everything: str | None = None

    def choose(self, grant: Grant) -> Choice:
        """Returns how to start a grant, or raises LaunchError."""
        executor = grant.run.executor
        if self.everything is not None:
            program = Program(command=("fake",))
            return Choice(driver=self.everything, read_only_in=False, program=program)
        if grant.run.kind == "image":
            if self.image_driver is None:
                raise LaunchError(
                    "this worker has no docker engine to run an image with", failure=FailureReason.NO_WORKER
                )
            return Choice(driver=self.image_driver, read_only_in=True, image=grant.run.target)
        program_here = self.programs.get(executor)
        if program_here is None:
            raise LaunchError(f"this worker does not offer {executor}", failure=FailureReason.NO_WORKER)
        return Choice(driver=self.program_driver, read_only_in=False, program=program_here)


def builtin_command(python: str, executor: str) -> tuple[str, ...]:
    """Returns how a built-in executor is started by an interpreter."""
    kind, _, name = executor.partition(":")
    if kind == "executor" and name == _DETECTOR:
        return (python, "-P", "-m", "lodeworks_detector")
    return (python, "-P", "-m", "lodeworks_builtin", name)
