"""What the controller asks this worker to run."""

from dataclasses import dataclass, field

from lodeworks_worker.drivers.base import run_name


@dataclass(frozen=True, slots=True)
class Input:
    """One input by role and content."""

    role: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OutputSlot:
    """One output that a run may or must leave; a role that ends in `/*` stands for any number of files."""

    role: str
    required: bool = False
    max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run needs; 0 = the worker's default."""

    gpus: int = 0
    cpus: float = 0.0
    memory_bytes: int = 0
    shm_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a run in seconds; 0 = none."""

    run_s: float = 0.0
    stall_s: float = 0.0
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """Bounds of a run by its executor's policy; empty and 0 = the worker's default."""

    network: str = ""
    user: str = ""
    out_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that it takes to run an executor.

    `executor` is `builtin:<name>`, `executor:<name>` (a program of an environment) or
    `image:<reference>@sha256:<digest>`; `operations` are `train`, `mine`, `infer`, or the name of a built-in task.
    """

    executor: str
    operations: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    settings_yaml: str = ""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[OutputSlot, ...] = ()
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    export_format: str = ""
    object_type: int = 2
    policy: RunPolicy = field(default_factory=RunPolicy)

    @property
    def kind(self) -> str:
        """`builtin`, `executor` or `image`."""
        return self.executor.partition(":")[0]

    @property
    def target(self) -> str:
        """The name or the image behind the kind."""
        return self.executor.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Grant:
    """A task leased to this worker; `lease_epoch` fences every write about it."""

    task_id: str
    lease_epoch: int
    run: RunSpec
    gpu_uuids: tuple[str, ...] = ()
    attempt: int = 1
    title: str = ""

    @property
    def name(self) -> str:
        """Name of the run, its folder and its container."""
        return run_name(self.task_id, self.lease_epoch)
