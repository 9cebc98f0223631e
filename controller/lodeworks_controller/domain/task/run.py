"""What a worker is given to run, and what it brings back."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run holds while it runs."""

    gpus: int = 0
    cpus: float = 0.0
    memory_bytes: int = 0
    shm_bytes: int = 0
    labels: str = ""
    """What the worker's labels must say, such as ``gpu=a100,!slow``."""
    only_free_gpus: bool = False
    """Whether GPUs are taken only where nobody else, outside of the platform, uses their memory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a run may take; 0 = no limit."""

    run_timeout_s: float = 0.0
    stall_timeout_s: float = 0.0
    """Without output, progress or metrics."""
    start_timeout_s: float = 0.0
    """From being ready to being granted."""
    stop_grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Input:
    """One content-addressed input; several may share a role's prefix (``model/epoch_3/best.onnx``)."""

    role: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OutputSlot:
    """One output that may come back; a role ending in ``/*`` takes any number of names."""

    role: str
    required: bool = False
    max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """One output that came back: its role, and the blob that holds it."""

    role: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """Bounds of a run that its executor's owner set; empty and 0 = the worker's default."""

    network: str = ""
    user: str = ""
    out_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything a worker needs to know to run a task; a new kind of task needs no new worker."""

    executor: str
    """``builtin:<name>``, ``executor:<name>`` (a process) or ``image:<reference>@sha256:<digest>``."""
    operations: tuple[str, ...] = ()
    """``train``, ``mine``, ``infer``, or the name of a built-in task."""
    class_names: tuple[str, ...] = ()
    settings_yaml: str = ""
    """Verbatim: a protobuf Struct would turn 20 into 20.0."""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[OutputSlot, ...] = ()
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    export_format: str = ""
    """``<annotation>:<image>``, such as ``ark:raw``; empty = the executor reads no annotation files."""
    object_type: int = 2
    """2 detection, 3 semantic segmentation, 4 instance segmentation."""
    policy: RunPolicy = field(default_factory=RunPolicy)
