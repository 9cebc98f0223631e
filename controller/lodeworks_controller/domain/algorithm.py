"""Algorithms: what devices run, as numbered releases of packages.

A publish makes a CANDIDATE: built and measured, unsigned. Signing makes it RELEASED; devices accept nothing else. A
release never changes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from lodeworks_controller.errors import ConflictError, InvalidError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NOT_IN_NAME = re.compile(r"[^a-z0-9._-]+")


class ReleaseState(Enum):
    """Where a release is in its life."""

    CREATING = "creating"
    CANDIDATE = "candidate"
    RELEASED = "released"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PackageBlob:
    """One file of a package: sha256 in hex and length."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ClassDrop:
    """What a variant reaches in a class, and what it lost there against fp32."""

    class_name: str
    ap: float
    drop: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of a variant beside the others, in one run. None where it could not be measured."""

    ap: float | None = None
    ap50: float | None = None
    drop: float | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    speed_up: float | None = None
    class_drops: tuple[ClassDrop, ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """One variant of a release. ``id`` is the sha256 of its manifest, which is itself one of the blobs."""

    id: str
    target: str
    precision: str
    runtime: str
    runtime_min: str
    runtime_max: str
    arch: tuple[str, ...]
    size_bytes: int
    archive_digest: str
    blobs: tuple[PackageBlob, ...]
    archive_size_bytes: int = 0
    memory_bytes: int = 0
    measurement: Measurement = field(default_factory=Measurement)
    statement: Mapping[str, Any] = field(default_factory=dict)
    """What is signed with the release about it: everything that its inputs do not determine."""

    @property
    def variant(self) -> str:
        """Target and precision, such as ``openvino-int8``."""
        return f"{self.target}-{self.precision}"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A named line of releases in a project."""

    id: str
    project_id: str
    name: str
    created_at: datetime
    last_number: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """One set of packages of the same stage. ``name`` is the algorithm's."""

    id: str
    algorithm_id: str
    project_id: str
    name: str
    number: int
    state: ReleaseState
    model_name: str
    model_version_id: str
    created_by: str
    created_at: datetime
    class_names: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    report_digest: str = ""
    card_digest: str = ""
    task_id: str = ""
    signed_at: datetime | None = None
    target_path: str = ""
    """Its path in the release repository."""
    failure: str = ""

    @property
    def full_name(self) -> str:
        """The name with its number, as people write it."""
        return f"{self.name}@{self.number}"

    @property
    def repository_name(self) -> str:
        """The algorithm's name in the release repository: by project, so that two projects may use one name."""
        return f"{self.project_id}/{self.name}"

    def candidate(
        self, packages: Sequence[Package], *, report: Mapping[str, Any], report_digest: str, card_digest: str
    ) -> "Release":
        """Returns the release with what was built; only one in the making can become a candidate."""
        if self.state is not ReleaseState.CREATING:
            raise ConflictError(
                "RELEASE_STATE", f"{self.full_name} is {self.state.value} and cannot become a candidate"
            )
        return replace(
            self,
            state=ReleaseState.CANDIDATE,
            packages=tuple(packages),
            report=report,
            report_digest=report_digest,
            card_digest=card_digest,
            failure="",
        )

    def require_candidate(self) -> None:
        """Raises ConflictError unless it may be signed."""
        if self.state is not ReleaseState.CANDIDATE:
            raise ConflictError(
                "RELEASE_NOT_CANDIDATE",
                f"{self.full_name} is {self.state.value}; only a candidate can be signed",
                id=self.id,
            )

    def released(self, *, path: str, at: datetime) -> "Release":
        """Returns the release as signed."""
        self.require_candidate()
        return replace(self, state=ReleaseState.RELEASED, target_path=path, signed_at=at)

    def fail(self, failure: str, *, report: Mapping[str, Any] | None = None) -> "Release":
        """Returns the release as failed; one that was built stays so."""
        if self.state is not ReleaseState.CREATING:
            return self
        return replace(self, state=ReleaseState.FAILED, failure=failure, report=report or self.report)

    def again(self) -> "Release":
        """Returns the release as one in the making, when its task is tried again."""
        return replace(self, state=ReleaseState.CREATING, failure="", report={}) if self.is_failed else self

    @property
    def is_failed(self) -> bool:
        """Whether it was never made."""
        return self.state is ReleaseState.FAILED

    def require_released(self) -> None:
        """Raises ConflictError unless devices accept it."""
        if self.state is not ReleaseState.RELEASED:
            raise ConflictError(
                "RELEASE_NOT_SIGNED",
                f"{self.full_name} is {self.state.value}; devices accept signed releases only",
                id=self.id,
            )

    def package(self, package_id: str) -> Package | None:
        """Returns the package of an id, if it is one of its."""
        return next((package for package in self.packages if package.id == package_id), None)


def check_algorithm_name(name: str) -> str:
    """Returns the name if an algorithm may be called so: it stands in addresses of devices and in signed paths."""
    if _NAME.fullmatch(name) is None:
        raise InvalidError(
            "NAME_INVALID",
            f"{name!r} cannot name an algorithm; use 1 to 64 of a-z, 0-9, dot, dash, underscore, such as "
            f"{as_algorithm_name(name)!r}",
            field="name",
        )
    return name


def as_algorithm_name(name: str) -> str:
    """Returns the nearest name that an algorithm may have."""
    near = _NOT_IN_NAME.sub("-", name.casefold()).strip("-._")[:64]
    return near or "algorithm"
