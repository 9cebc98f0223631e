"""What may be asked for with every task, beside its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from lodeworks.api.task.v1 import task_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Place, limits, retries and order of a task. Times are in seconds; 0 = for ever.

    Attributes:
        priority: Larger goes first within a project, -100 to 100; administrators up to 1,000, before all projects.
        gpus: GPUs that it gets on one worker, all or nothing.
        labels: What the labels of its worker must say: ``gpu=a100,!slow,zone in (a b)``.
        only_free_gpus: True takes GPUs only where no other program uses their memory.
        retries: Attempts after failures of the executor; None = the kind's default.
        infrastructure_retries: Attempts after failures of the platform; None = 2.
        start_timeout_s: From being ready to the start.
        run_timeout_s: From the start to the end of a run.
        stall_timeout_s: Without output, progress or metrics.
        after: Ids of tasks that must succeed first.
        reuse: True takes the outputs of an equal earlier task instead of running again.
    """

    priority: int = 0
    gpus: int = 0
    labels: str = ""
    only_free_gpus: bool = False
    retries: int | None = None
    infrastructure_retries: int | None = None
    start_timeout_s: float = 0.0
    run_timeout_s: float = 0.0
    stall_timeout_s: float = 0.0
    after: Sequence[str] = ()
    reuse: bool = False


def to_message(options: TaskOptions | None) -> pb.TaskOptions | None:
    """Returns options as a message; None stays unset."""
    if options is None:
        return None
    return pb.TaskOptions(
        priority=options.priority,
        gpus=options.gpus,
        labels=options.labels,
        only_free_gpus=options.only_free_gpus,
        retries=options.retries,
        infrastructure_retries=options.infrastructure_retries,
        start_timeout=_duration(options.start_timeout_s),
        run_timeout=_duration(options.run_timeout_s),
        stall_timeout=_duration(options.stall_timeout_s),
        after=options.after,
        reuse=options.reuse,
    )


def _duration(seconds: float) -> Duration | None:
    if not seconds:
        return None
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
