"""What the maker of a task asks for, as a message."""

from lodeworks.api.task.v1 import task_pb2

from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.transport.wire import from_duration, to_duration


def to_options(message: task_pb2.TaskOptions) -> TaskOptions:
    """Returns the options of a message, or raises InvalidError."""
    return TaskOptions(
        priority=message.priority,
        gpus=message.gpus,
        labels=message.labels,
        only_free_gpus=message.only_free_gpus,
        retries=message.retries if message.HasField("retries") else None,
        infrastructure_retries=message.infrastructure_retries if message.HasField("infrastructure_retries") else None,
        start_timeout_s=from_duration(message.start_timeout),
        run_timeout_s=from_duration(message.run_timeout),
        stall_timeout_s=from_duration(message.stall_timeout),
        after=tuple(message.after),
        reuse=message.reuse,
    )


def options_in_force(task: Task) -> task_pb2.TaskOptions:
    """Returns what counts for a task: what was asked, else what its kind wants."""
    asked = task.options
    message = task_pb2.TaskOptions(
        priority=task.priority,
        gpus=task.resources.gpus,
        labels=task.resources.labels,
        only_free_gpus=task.resources.only_free_gpus,
        retries=asked.retries,
        infrastructure_retries=asked.infrastructure_retries,
        after=asked.after,
        reuse=asked.reuse,
    )
    for field, seconds in (
        ("start_timeout", task.limits.start_timeout_s),
        ("run_timeout", task.limits.run_timeout_s),
        ("stall_timeout", task.limits.stall_timeout_s),
    ):
        if seconds:
            getattr(message, field).CopyFrom(to_duration(seconds))
    return message
