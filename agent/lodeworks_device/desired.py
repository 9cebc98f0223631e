"""Reads a desired state, after its signature was found good."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lodeworks_device.errors import DocumentError
from lodeworks_device.reasons import Reason
from lodeworks_device.states import Goal, Version, Wanted

_TYPE = "lodeworks.desired-state"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Signed:
    """A desired state as it came: the bytes that were signed, the signature, and whose it claims to be."""

    data: bytes
    signature: bytes
    key_id: str


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything that this device shall run."""

    device_id: str
    generation: int
    issued_at: datetime
    expires_at: datetime
    algorithms: tuple[Wanted, ...]


def read_desired(data: bytes) -> DesiredState:
    """Reads a document; raises DocumentError INCOMPATIBLE for one that this agent does not understand."""
    try:
        told = json.loads(data)
        if told["type"] != _TYPE or told["version"] != _VERSION:
            raise DocumentError(
                Reason.INCOMPATIBLE,
                f"the desired state is a {told['type']} of version {told['version']}; upgrade lode-device",
            )
        generation = int(told["generation"])
        return DesiredState(
            device_id=str(told["device_id"]),
            generation=generation,
            issued_at=_time(told["issued_at"]),
            expires_at=_time(told["expires_at"]),
            algorithms=tuple(_wanted(entry, generation=generation) for entry in told["algorithms"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DocumentError(Reason.INCOMPATIBLE, f"the desired state cannot be read: {error!r}") from error


def check_desired(desired: DesiredState, *, device_id: str, seen: int, at: datetime) -> None:
    """Raises DocumentError for a document that is another device's, not above the last one seen, or expired."""
    if desired.device_id != device_id:
        raise DocumentError(
            Reason.FOREIGN, f"the desired state is for device {desired.device_id}, this one is {device_id}"
        )
    if desired.generation <= seen:
        raise DocumentError(
            Reason.EXPIRED, f"generation {desired.generation} is not above {seen}, which this device has seen already"
        )
    if at >= desired.expires_at:
        raise DocumentError(Reason.EXPIRED, f"the desired state expired at {desired.expires_at.isoformat()}")


def _wanted(entry: Mapping[str, Any], *, generation: int) -> Wanted:
    name, package_id = str(entry["name"]), str(entry["package_id"])
    # It names files: nothing but hex leaves this line.
    if len(bytes.fromhex(package_id)) != 32:  # noqa: PLR2004 - bytes of a sha256
        raise ValueError(f"{package_id!r} is no package id")
    settings = entry.get("settings") or {}
    confidence = settings.get("confidence")
    return Wanted(
        name=name,
        version=Version(package_id.lower(), f"{name}@{entry['release']}", str(entry["release_path"])),
        goal=Goal(entry["state"]),
        generation=generation,
        confidence=None if confidence is None else float(confidence),
        gate=dict(entry.get("gate") or {}),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
