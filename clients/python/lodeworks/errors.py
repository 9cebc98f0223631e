"""What can go wrong for a user of the client.

```
LodeError
├── InvalidError          a field or setting is wrong                         exit code 2
├── NotFoundError         no such thing, or not visible                       exit code 3
├── RefusedError          permission or state forbids it                      exit code 4
│   ├── ExistsError       the name is taken
│   ├── ConflictError     somebody else was faster; look again and repeat
│   └── LoginError        no token, or one that no longer counts
├── ExhaustedError        disk or quota is full                               exit code 1
├── UnreachableError      nobody answers, or not the server that was pinned   exit code 5
├── TaskFailedError       a task ended without its product                    exit code 1
└── ServerError           the server failed, or speaks another version        exit code 1
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lodeworks.channel.refusal import Refusal


class LodeError(Exception):
    """Base of all errors of the client.

    Attributes:
        reason: Stable name for programs, such as ``VERSION_NOT_FOUND``.
        metadata: Further attributes that the server gave.
        exit_code: What ``lode`` exits with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason or "CLIENT"
        self.metadata = dict(metadata or {})


class InvalidError(LodeError):
    """A field or setting is wrong; the message names it."""

    exit_code = 2


class NotFoundError(LodeError):
    """There is no such thing, or it is not visible to the caller."""

    exit_code = 3


class RefusedError(LodeError):
    """Permission or the state of things forbids it."""

    exit_code = 4


class ExistsError(RefusedError):
    """The name is taken."""


class ConflictError(RefusedError):
    """Somebody else was faster; look again and repeat."""


class LoginError(RefusedError):
    """There is no token, or one that no longer counts."""


class ExhaustedError(LodeError):
    """Disk or quota is full."""


class UnreachableError(LodeError):
    """Nobody answers, or not the server whose authority is pinned."""

    exit_code = 5


class TaskFailedError(LodeError):
    """A task ended without its product.

    Attributes:
        task_id: The task.
        log_tail: Last lines of its log.
        next_step: What to do about it, for people.
    """

    def __init__(
        self, message: str, *, reason: str, task_id: str, log_tail: tuple[str, ...] = (), next_step: str = ""
    ) -> None:
        super().__init__(message, reason=reason)
        self.task_id = task_id
        self.log_tail = log_tail
        self.next_step = next_step


class ServerError(LodeError):
    """The server failed, or speaks another version."""


# By name: the command line shows its help without loading grpc.
_BY_CODE: dict[str, type[LodeError]] = {
    "INVALID_ARGUMENT": InvalidError,
    "OUT_OF_RANGE": InvalidError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": ExistsError,
    "FAILED_PRECONDITION": RefusedError,
    "PERMISSION_DENIED": RefusedError,
    "UNAUTHENTICATED": LoginError,
    "ABORTED": ConflictError,
    "RESOURCE_EXHAUSTED": ExhaustedError,
    "UNAVAILABLE": UnreachableError,
    "DEADLINE_EXCEEDED": UnreachableError,
}


def error_of(refusal: Refusal) -> LodeError:
    """Turns what the server refused into an error of ours."""
    if refusal.code.name == "UNIMPLEMENTED":
        return ServerError(
            "the server does not know this call; upgrade it to the version of this client", reason="UNIMPLEMENTED"
        )
    kind = _BY_CODE.get(refusal.code.name, ServerError)
    message = refusal.message or f"the server answered {refusal.code.name}; look into its log"
    return kind(message, reason=refusal.reason or refusal.code.name, metadata=refusal.metadata)
