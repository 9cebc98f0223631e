"""The refusals of the controller, as one tree.

::

    LodeworksError
    ├── NotFoundError            what was named is not there
    ├── InvalidError             the request itself is wrong (field)
    │   └── BadOutputError       an executor left something unreadable (file, line)
    ├── GuardError               a converted model lost more accuracy than allowed
    ├── ConflictError            right request, wrong moment: a state forbids it
    │   └── ExistsError          the name is taken
    ├── StaleLeaseError          the caller no longer holds the lease
    ├── SessionSupersededError   another boot of this worker is live
    ├── PermissionDeniedError    known caller, missing right
    ├── UnauthenticatedError     unknown caller
    ├── ExhaustedError           quota, disk or another limit is used up
    ├── UnavailableError         try again later
    └── GapError                 bytes are missing before the offset (committed_bytes)

Each error carries a stable ``reason`` (UPPER_SNAKE) that programs switch on, a message of one lower-case sentence that
says what is wrong and what to do, and metadata. Anything else that is raised is a fault and never reaches a caller.
"""

from typing import Any


class LodeworksError(Exception):
    """A refusal: the controller understood, and will not."""

    def __init__(self, reason: str, message: str, **metadata: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = {key: str(value) for key, value in metadata.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets a refusal come back whole from a process of the pool, whatever its class takes to be made."""
        return _revive, (type(self), self.message, dict(self.__dict__))


def _revive(kind: type[LodeworksError], message: str, state: dict[str, Any]) -> LodeworksError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class NotFoundError(LodeworksError):
    """What was named is not there, or the caller may not know that it is."""


class InvalidError(LodeworksError):
    """The request itself is wrong; repeating it cannot help."""

    def __init__(self, reason: str, message: str, *, field: str = "", **metadata: Any) -> None:
        super().__init__(reason, message, **metadata)
        self.field = field


class BadOutputError(InvalidError):
    """An executor left something that cannot be read; the task fails with BAD_OUTPUT."""

    def __init__(self, message: str, *, file: str = "", line: int | None = None) -> None:
        place = {"file": file} if line is None else {"file": file, "line": line}
        super().__init__("BAD_OUTPUT", message, **place)
        self.file = file
        self.line = line


class GuardError(LodeworksError):
    """A converted model lost more accuracy than allowed; the task fails with GUARD."""

    def __init__(self, message: str, **metadata: Any) -> None:
        super().__init__("ACCURACY_GUARD", message, **metadata)


class ConflictError(LodeworksError):
    """The request is right, but a state forbids it now."""


class ExistsError(ConflictError):
    """The name is taken."""


class StaleLeaseError(LodeworksError):
    """The caller no longer holds the lease; it drops the run and reports nothing more."""

    def __init__(self, task_id: str, *, lease_epoch: int = 0) -> None:
        super().__init__(
            "LEASE_LOST",
            f"the lease of task {task_id} with epoch {lease_epoch} is no longer held; drop the run",
            task_id=task_id,
            lease_epoch=lease_epoch,
        )
        self.task_id = task_id
        self.lease_epoch = lease_epoch


class SessionSupersededError(LodeworksError):
    """Another boot of this worker is live; this one stops."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            "SESSION_SUPERSEDED",
            f"another start of worker {worker_id} has taken over its session; stop, or register again after a restart",
            worker_id=worker_id,
        )
        self.worker_id = worker_id


class PermissionDeniedError(LodeworksError):
    """The caller is known and lacks the right."""


class UnauthenticatedError(LodeworksError):
    """The caller is not known."""


class ExhaustedError(LodeworksError):
    """A quota, the disk or another limit is used up."""


class UnavailableError(LodeworksError):
    """Nothing is wrong with the request; a later repeat can succeed."""

    def __init__(self, reason: str, message: str, *, retry_after_s: float = 1.0, **metadata: Any) -> None:
        super().__init__(reason, message, **metadata)
        self.retry_after_s = retry_after_s


class GapError(LodeworksError):
    """Bytes are missing before the given offset; the caller goes on from the committed size."""

    def __init__(self, reason: str, message: str, *, committed_bytes: int, **metadata: Any) -> None:
        super().__init__(reason, message, committed_bytes=committed_bytes, **metadata)
        self.committed_bytes = committed_bytes
