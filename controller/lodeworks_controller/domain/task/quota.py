"""Quotas: how much of an installation a project or a person may use, and a project's share of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from lodeworks_controller.errors import ExhaustedError, InvalidError


class QuotaScope(Enum):
    """Whom a quota binds."""

    PROJECT = "project"
    USER = "user"


_MOST_WEIGHT: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Quota:
    """What one project or person may use at most; None = as much as there is."""

    scope: QuotaScope
    id: str
    """Of the project or the user."""
    weight: float = 1.0
    """Of a project: how large its share is beside the others'."""
    running_tasks: int | None = None
    gpus: int | None = None
    """Held at the same time."""
    queued_tasks: int | None = None
    """Waiting at the same time, for parents or for a worker."""
    blob_bytes: int | None = None
    """Of a project: the size of the content that it refers to."""

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        if not 0 < self.weight <= _MOST_WEIGHT:
            message = f"a weight lies above 0 and is at most {_MOST_WEIGHT:g}"
            raise InvalidError("QUOTA_INVALID", message, field="weight")
        for name in ("running_tasks", "gpus", "queued_tasks", "blob_bytes"):
            most = getattr(self, name)
            if most is not None and most < 0:
                raise InvalidError("QUOTA_INVALID", f"{name} is 0 or more, or unlimited", field=name)

    def reached(self, use: "Use", *, gpus: int) -> str:
        """Returns why one more run with so many GPUs is too much now, for people; empty when it is not."""
        if self.running_tasks is not None and use.runs + 1 > self.running_tasks:
            return f"its quota of {_counted(self.running_tasks, 'running task')} ({use.runs} running)"
        if self.gpus is not None and gpus and use.gpus + gpus > self.gpus:
            return f"its quota of {_counted(self.gpus, 'GPU')} ({use.gpus} held, {gpus} wanted)"
        return ""

    def check_wish(self, name: str, *, queued: int, gpus: int) -> None:
        """Refuses a new task that the quota has no room for."""
        whose = f"{self.scope.value} {name}"
        if self.queued_tasks is not None and queued + 1 > self.queued_tasks:
            raise ExhaustedError(
                "QUOTA_QUEUED_TASKS",
                f"{whose} has {queued} waiting tasks, its quota is {self.queued_tasks}; wait until some have started, "
                "cancel some, or ask an administrator to raise it with `lode project quota`",
                quota=str(self.queued_tasks),
                used=str(queued),
            )
        if self.gpus is not None and gpus > self.gpus:
            raise ExhaustedError(
                "QUOTA_GPUS",
                f"the task wants {_counted(gpus, 'GPU')}, and the quota of {whose} is {self.gpus}; ask for fewer with "
                "--gpus, or ask an administrator to raise it with `lode project quota`",
                quota=str(self.gpus),
                wanted=str(gpus),
            )

    def check_blobs(self, name: str, *, used_bytes: int, more_bytes: int) -> None:
        """Refuses content that the quota has no room for."""
        if self.blob_bytes is not None and used_bytes + more_bytes > self.blob_bytes:
            raise ExhaustedError(
                "QUOTA_BLOB_BYTES",
                f"{self.scope.value} {name} refers to {used_bytes:,} bytes of content, {more_bytes:,} more are above "
                f"its quota of {self.blob_bytes:,}; delete versions that nobody needs, or ask an administrator to "
                "raise it with `lode project quota`",
                quota=str(self.blob_bytes),
                used=str(used_bytes),
            )


@dataclass(frozen=True, slots=True)
class Use:
    """What runs at the moment."""

    runs: int = 0
    gpus: int = 0
    """That the runs hold together."""
    runs_without: int = 0
    """Of the runs, those that hold no GPU."""

    @property
    def slots(self) -> int:
        """What counts against a share: a run without GPUs is one, a run with GPUs as many as it holds."""
        return self.runs_without + self.gpus

    def plus(self, gpus: int) -> "Use":
        """Returns the use with one run more."""
        return Use(self.runs + 1, self.gpus + gpus, self.runs_without + (not gpus))

    def and_also(self, other: "Use") -> "Use":
        """Returns both together."""
        return Use(self.runs + other.runs, self.gpus + other.gpus, self.runs_without + other.runs_without)


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas that are set, by scope and id."""

    by_scope: Mapping[tuple[QuotaScope, str], Quota] = field(default_factory=dict)

    @classmethod
    def of(cls, quotas: Iterable[Quota]) -> "Quotas":
        """Returns them by scope and id."""
        return cls({(one.scope, one.id): one for one in quotas})

    def of_project(self, project_id: str) -> Quota:
        """Returns what binds a project."""
        found = self.by_scope.get((QuotaScope.PROJECT, project_id))
        return found or Quota(QuotaScope.PROJECT, project_id)

    def of_user(self, user_id: str) -> Quota:
        """Returns what binds a person."""
        return self.by_scope.get((QuotaScope.USER, user_id)) or Quota(QuotaScope.USER, user_id)

    def limits_runs(self, project_id: str, user_id: str) -> bool:
        """Says whether how much runs matters to the tasks of a project and person."""
        return any(
            one.running_tasks is not None or one.gpus is not None
            for one in (self.of_project(project_id), self.of_user(user_id))
        )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
