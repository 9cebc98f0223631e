"""Devices: what each shall run, and what it says it runs.

Desired state is one whole document per device with a generation that only rises; deploy, set, start, stop, undeploy and
rollback each make the next generation. Reported state is written by the device alone; the two stand side by side.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from lodeworks_controller.domain.algorithm import Package
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError

DOCUMENT_LIFETIME = timedelta(days=90)
_DIGITS = re.compile(r"\d+")


class DeviceState(Enum):
    """Where a device is in its life."""

    PENDING = "pending"
    ONLINE = "online"
    OFFLINE = "offline"
    REVOKED = "revoked"


class DesiredPhase(Enum):
    """What shall become of an algorithm on a device."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class DesiredAlgorithm:
    """What a device shall run under one name: a release, and the package of it that was chosen for this device."""

    name: str
    release_id: str
    release_name: str
    release_number: int
    release_path: str
    package_id: str
    variant: str
    phase: DesiredPhase = DesiredPhase.RUNNING
    confidence: float | None = None
    """Boxes below are not answered; None = the package's own threshold."""
    previous_release_id: str = ""
    previous_package_id: str = ""
    """What was wanted before, for a rollback."""

    def document(self) -> dict[str, Any]:
        """Returns the entry of the desired-state document."""
        return {
            "name": self.name,
            "release_path": self.release_path,
            "release": self.release_number,
            "package_id": self.package_id,
            "state": self.phase.value,
            "settings": {} if self.confidence is None else {"confidence": self.confidence},
            "sources": [],
            "sinks": [],
            "feedback": None,
            "gate": {},
        }


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device says it can do. ``runtimes`` maps the runtimes that work there to their versions."""

    arch: str = ""
    runtimes: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    disk_bytes: int = 0

    @classmethod
    def read(cls, reported: Mapping[str, Any]) -> "Capabilities | None":
        """Reads its part of a reported state, None while the device has not said; the malformed counts as absent."""
        given = reported.get("capabilities")
        if not isinstance(given, Mapping):
            return None
        runtimes = given.get("runtimes")
        return cls(
            arch=str(given.get("arch") or ""),
            runtimes={str(key): str(value) for key, value in runtimes.items() if value}
            if isinstance(runtimes, Mapping)
            else {},
            memory_bytes=_whole(given.get("memory_bytes")),
            disk_bytes=_whole(given.get("disk_bytes")),
        )

    def lacks(self, package: Package) -> str | None:
        """Returns what is missing to run a package, None when nothing is."""
        version = self.runtimes.get(package.runtime)
        if version is None:
            there = ", ".join(sorted(self.runtimes)) or "none"
            return f"{package.variant} needs the runtime {package.runtime}, the device has: {there}"
        if package.runtime_min and _version(version) < _version(package.runtime_min):
            return f"{package.variant} needs {package.runtime} {package.runtime_min} or newer, the device has {version}"
        if package.runtime_max and _version(version) >= _version(package.runtime_max):
            return f"{package.variant} needs {package.runtime} before {package.runtime_max}, the device has {version}"
        if package.arch and self.arch and self.arch not in package.arch:
            return f"{package.variant} is for {', '.join(package.arch)}, the device is {self.arch}"
        if self.memory_bytes and package.memory_bytes > self.memory_bytes:
            return f"{package.variant} needs {package.memory_bytes:,} bytes of memory, the device has fewer"
        return None


@dataclass(frozen=True, slots=True)
class Document:
    """A signed desired state, as it is handed over."""

    data: bytes
    signature: bytes
    key_id: str
    expires_at: datetime

    def is_worn(self, *, at: datetime) -> bool:
        """Says whether half of its life is over, so that it should be signed again."""
        return self.expires_at - at < DOCUMENT_LIFETIME / 2


@dataclass(frozen=True, slots=True)
class Report:
    """What a device said in one call."""

    boot_id: str
    seq: int
    observed_generation: int
    version: str
    state: Mapping[str, Any] | None = None
    """The reported state; None when there was nothing new to tell."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device, as the controller knows it."""

    id: str
    project_id: str
    name: str
    created_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    enrolled_at: datetime | None = None
    revoked_at: datetime | None = None
    generation: int = 0
    observed_generation: int = 0
    desired: tuple[DesiredAlgorithm, ...] = ()
    document: Document | None = None
    boot_id: str = ""
    seq: int = 0
    reported: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    last_seen_at: datetime | None = None
    revision: int = 1
    """Rises with every change that people may want to see."""

    def state(self, *, at: datetime, silent_after_s: float) -> DeviceState:
        """Returns where the device is, by when it last spoke."""
        if self.revoked_at is not None:
            return DeviceState.REVOKED
        if self.last_seen_at is None:
            return DeviceState.PENDING if self.enrolled_at is None else DeviceState.OFFLINE
        silent = at - self.last_seen_at > timedelta(seconds=silent_after_s)
        return DeviceState.OFFLINE if silent else DeviceState.ONLINE

    @property
    def capabilities(self) -> Capabilities | None:
        """What the device says it can do; None while it has not said."""
        return Capabilities.read(self.reported)

    @property
    def package_ids(self) -> frozenset[str]:
        """The packages that its document names."""
        return frozenset(entry.package_id for entry in self.desired if entry.phase is not DesiredPhase.ABSENT)

    def wanted(self, name: str) -> DesiredAlgorithm:
        """Returns what it shall run under a name, or raises NotFoundError."""
        for entry in self.desired:
            if entry.name == name and entry.phase is not DesiredPhase.ABSENT:
                return entry
        there = ", ".join(entry.name for entry in self.desired if entry.phase is not DesiredPhase.ABSENT) or "none"
        raise NotFoundError(
            "ALGORITHM_NOT_DEPLOYED", f"device {self.name} has no algorithm {name!r}; it has: {there}", name=name
        )

    def reported_algorithm(self, name: str) -> Mapping[str, Any]:
        """Returns what the device says about an algorithm; empty when it says nothing."""
        return reported_algorithms(self.reported).get(name, {})

    def want(self, entry: DesiredAlgorithm) -> "Device":
        """Returns the next generation with the entry in it, in place of an earlier one of its name."""
        seen = self.observed_generation >= self.generation
        kept = [
            other
            for other in self.desired
            # What is gone is named until the device has read that it shall be gone.
            if other.name != entry.name and not (seen and other.phase is DesiredPhase.ABSENT)
        ]
        return self.next_generation(tuple(sorted([*kept, entry], key=lambda each: each.name)))

    def next_generation(self, desired: tuple[DesiredAlgorithm, ...] | None = None) -> "Device":
        """Returns the device with a generation above all that it or we have seen, its document still to be signed."""
        return replace(
            self,
            generation=max(self.generation, self.observed_generation) + 1,
            desired=self.desired if desired is None else desired,
            document=None,
            revision=self.revision + 1,
        )

    def document_members(self, *, at: datetime) -> dict[str, Any]:
        """Returns the members of the desired-state document, to be signed."""
        return {
            "device_id": self.id,
            "generation": self.generation,
            "issued_at": _rfc3339(at),
            "expires_at": _rfc3339(at + DOCUMENT_LIFETIME),
            "algorithms": [entry.document() for entry in self.desired],
            "policy": {},
        }

    def observe(self, report: Report, *, at: datetime) -> "Device":
        """Returns the device as its report says; one that was counted already changes only when it was last seen."""
        seen = replace(self, last_seen_at=at, version=report.version or self.version)
        if report.boot_id == self.boot_id and report.seq <= self.seq:
            return seen
        news = replace(
            seen,
            boot_id=report.boot_id,
            seq=report.seq,
            observed_generation=report.observed_generation,
            reported=self.reported if report.state is None else report.state,
        )
        told = report.state is not None and report.state != self.reported
        if told or report.observed_generation != self.observed_generation or self.last_seen_at is None:
            return replace(news, revision=self.revision + 1)
        return news


def reported_algorithms(reported: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns the algorithms of a reported state by name; what is malformed is left out."""
    given = reported.get("algorithms")
    entries = given if isinstance(given, Sequence) and not isinstance(given, str) else ()
    return {str(entry["name"]): entry for entry in entries if isinstance(entry, Mapping) and "name" in entry}


def choose_package(
    packages: Sequence[Package], device: Device, *, variant: str = "", unfit_allowed: bool = False
) -> Package:
    """Returns the package that a device shall run: the named variant, or the fastest measured one that fits.

    Raises InvalidError for a variant that the release has not, ConflictError where nothing fits.
    """
    named = [package for package in packages if not variant or package.variant == variant]
    if not named:
        there = ", ".join(package.variant for package in packages)
        raise InvalidError(
            "VARIANT_UNKNOWN", f"the release has no variant {variant!r}; it has: {there}", field="variant"
        )
    if unfit_allowed:
        return min(named, key=_speed)
    capabilities = device.capabilities
    if capabilities is None:
        raise ConflictError(
            "NO_PACKAGE_FITS",
            f"device {device.name} has not said yet what it can run; start lode-device there, then deploy again",
            device=device.name,
        )
    lacking = {package.variant: capabilities.lacks(package) for package in named}
    fitting = [package for package in named if lacking[package.variant] is None]
    if not fitting:
        reasons = "; ".join(reason for reason in lacking.values() if reason)
        raise ConflictError("NO_PACKAGE_FITS", f"no package fits device {device.name}: {reasons}", device=device.name)
    return min(fitting, key=_speed)


def _speed(package: Package) -> tuple[float, str]:
    latency = package.measurement.latency_ms
    return (float("inf") if latency is None else latency, package.variant)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _DIGITS.findall(text)[:4])


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _rfc3339(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
