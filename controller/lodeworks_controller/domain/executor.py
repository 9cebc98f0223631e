"""Executors: what can train, mine and infer, and the settings that each takes.

An executor's settings are a flat template of keys with defaults; what a person sets is checked against it before a task
is made, so that a mistyped key costs a second and not a training.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from lodeworks_controller.errors import ConflictError, InvalidError

DETECTION = 2
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}\Z")


def check_image(reference: str) -> str:
    """Returns a reference that an engine may understand, or raises InvalidError IMAGE_INVALID."""
    clean = reference.strip()
    if _REFERENCE.match(clean) is None:
        message = f"{reference!r} is no image; write it as name:tag, host/name:tag or name@sha256:…"
        raise InvalidError("IMAGE_INVALID", message, field="image")
    return clean


class ExecutorKind(Enum):
    """How an executor is run."""

    BUILTIN = "builtin"
    PROCESS = "process"
    IMAGE = "image"


class ExecutorOperation(Enum):
    """What an executor can be asked to do."""

    TRAIN = "train"
    MINE = "mine"
    INFER = "infer"


_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_USER = re.compile(r"\d{1,10}(:\d{1,10})?\Z")


@dataclass(frozen=True, slots=True)
class ExecutorPolicy:
    """Bounds of an executor's runs; what is empty or 0 is the worker's default."""

    network: str = ""
    """none, bridge, or a network that the worker's engine knows."""
    memory_bytes: int = 0
    shm_bytes: int = 0
    user: str = ""
    """uid or uid:gid inside the container."""
    out_bytes: int = 0
    """The most that a run may write to /out."""

    def check(self) -> "ExecutorPolicy":
        """Returns the policy, or raises InvalidError POLICY_INVALID."""
        for field_name in ("memory_bytes", "shm_bytes", "out_bytes"):
            if getattr(self, field_name) < 0:
                raise _policy_invalid(field_name, "is 0, which means the worker's default, or a number of bytes")
        if self.network and (_NETWORK.match(self.network) is None or self.network == "host"):
            told = "is none, bridge, or the name of a network of the worker's engine; host would open the worker itself"
            raise _policy_invalid("network", told)
        if self.user and _USER.match(self.user) is None:
            raise _policy_invalid("user", "is a number, or two as in 1000:1000")
        return self


def _policy_invalid(name: str, told: str) -> InvalidError:
    return InvalidError("POLICY_INVALID", f"{name} {told}", field=f"policy.{name}")


@dataclass(frozen=True, slots=True)
class Executor:
    """Something that can train, mine or infer.

    ``templates`` holds the text of the settings of each operation, for ``object_type``; ``by_type`` those of every type
    that it handles. ``image`` is pinned; ``reference`` is what it was registered as.
    """

    id: str
    name: str
    kind: ExecutorKind
    templates: Mapping[ExecutorOperation, str]
    created_at: datetime
    image: str = ""
    object_type: int = DETECTION
    project_id: str = ""
    """Where it was registered; empty = for the whole installation."""
    public: bool = False
    reference: str = ""
    by_type: Mapping[int, Mapping[ExecutorOperation, str]] = field(default_factory=dict)
    policy: ExecutorPolicy = field(default_factory=ExecutorPolicy)
    mining_id: str = ""
    """The executor that mines with its models; empty = none of its own."""
    inference_id: str = ""

    def usable_in(self, project_id: str) -> bool:
        """Says whether tasks of a project may run it."""
        return self.public or self.project_id in {"", project_id}

    @property
    def object_types(self) -> tuple[int, ...]:
        """All object types that it handles, its first one first."""
        return tuple(dict.fromkeys((self.object_type, *self.by_type)))

    def for_type(self, object_type: int) -> "Executor":
        """Returns the executor with its templates for that object type, where it handles it; else as it is."""
        if object_type not in self.by_type or object_type == self.object_type:
            return self
        return replace(self, object_type=object_type, templates=self.by_type[object_type])

    def can(self, operation: ExecutorOperation) -> bool:
        """Says whether it can do that."""
        return operation in self.templates

    @property
    def run_name(self) -> str:
        """What a run of it is told to start, as a worker understands it."""
        if self.kind is ExecutorKind.IMAGE:
            return f"image:{self.image}"
        prefix = "builtin" if self.kind is ExecutorKind.BUILTIN else "executor"
        return f"{prefix}:{self.name}"

    @property
    def requires(self) -> str:
        """The capability that a worker needs to run it."""
        return "driver:docker" if self.kind is ExecutorKind.IMAGE else self.run_name

    def template(self, operation: ExecutorOperation) -> str:
        """Returns the settings template of an operation, or raises ConflictError where it cannot do that."""
        if operation not in self.templates:
            can = ", ".join(known.value for known in self.templates) or "nothing"
            raise ConflictError(
                "EXECUTOR_CANNOT", f"executor {self.name} cannot {operation.value}; it can: {can}", executor=self.name
            )
        return self.templates[operation]


@dataclass(frozen=True, slots=True)
class SettingsCheck:
    """Checks what a person set against the template of an executor and the keys that only the platform sets."""

    executor: str
    template: Mapping[str, Any]
    reserved: frozenset[str]
    allowed: frozenset[str] = field(default_factory=frozenset)
    """Keys that any executor understands although its template does not list them."""

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the settings in force: the template's with the given ones over them; raises InvalidError."""
        for key, value in given.items():
            self._check_key(key)
            if key in self.template:
                self._check_type(key, value)
        kept = {key: value for key, value in self.template.items() if key not in self.reserved}
        return {**kept, **given}

    def _check_key(self, key: str) -> None:
        if key in self.reserved:
            known = ", ".join(sorted(self.reserved))
            raise InvalidError(
                "SETTING_RESERVED",
                f"setting {key!r} is made by the platform; leave it out. reserved are: {known}",
                field="settings",
                key=key,
            )
        if key in self.template or key in self.allowed:
            return
        names = sorted(set(self.template) - self.reserved)
        near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(names)}"
        raise InvalidError(
            "SETTING_INVALID", f"executor {self.executor} has no setting {key!r}; {hint}", field="settings", key=key
        )

    def _check_type(self, key: str, value: Any) -> None:
        default = self.template[key]
        wanted = _wanted(default)
        if wanted and not _suits(default, value):
            raise InvalidError(
                "SETTING_INVALID",
                f"setting {key!r} wants {wanted} such as {default!r}, not {value!r}",
                field="settings",
                key=key,
            )


def _wanted(default: Any) -> str:
    """Returns in words what a key takes, judged by its default; empty where the default does not tell."""
    words: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "keys and values"),
    )
    return next(
        (word for kind, word in words if isinstance(default, kind)), "a text" if isinstance(default, str) else ""
    )


def _suits(default: Any, value: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, str):
        # YAML reads many texts as numbers; a list is how several texts are written.
        return not isinstance(value, dict)
    return isinstance(value, type(default))
