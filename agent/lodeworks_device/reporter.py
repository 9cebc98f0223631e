"""The reported state: what this device says of itself. The server infers nothing."""

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from lodeworks_formats.manifest import canonical_json

from lodeworks_device.capabilities import Capabilities
from lodeworks_device.errors import DocumentError  # noqa: TC001 - an attribute's type
from lodeworks_device.keeper import Keeper
from lodeworks_device.ledger import Ledger
from lodeworks_device.process_record import own_record
from lodeworks_device.states import AlgorithmState, Version


class Reporter:
    """Makes reports. `certificate_end` tells when the certificate ends, `free_disk_bytes` what the disk has left."""

    def __init__(
        self,
        ledger: Ledger,
        keeper: Keeper,
        *,
        device_id: str,
        http_address: Callable[[], str],
        capabilities: Callable[[], Capabilities],
        certificate_end: Callable[[], datetime],
        free_disk_bytes: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._device_id = device_id
        self._http_address = http_address
        self._capabilities = capabilities
        self._certificate_end = certificate_end
        self._free_disk_bytes = free_disk_bytes
        self.refused: DocumentError | None = None
        """The last desired state, when it was not to be obeyed."""

    def report(self, *, boot_id: str, seq: int) -> bytes:
        """Returns the reported state as canonical JSON."""
        document = {
            **self.lasting(),
            "boot_id": boot_id,
            "seq": seq,
            "disk": {"free_bytes": self._free_disk_bytes()},
            "memory": {"agent_bytes": own_record().memory_bytes, "load": round(os.getloadavg()[0], 2)},
            "algorithms": [self._algorithm(state, measured=True) for state in self._states()],
        }
        return canonical_json(document)

    def lasting(self) -> dict[str, Any]:
        """Returns the part of a report whose change is news: without figures that move all the time."""
        return {
            "device_id": self._device_id,
            "observed_generation": self._ledger.generation,
            "http_address": self._http_address(),
            "capabilities": self._capabilities().as_json(),
            "certificate_end_time": _time(self._certificate_end()),
            "algorithms": [self._algorithm(state, measured=False) for state in self._states()],
            "problems": self._problems(),
        }

    def _states(self) -> list[AlgorithmState]:
        return [state for _, state in sorted(self._ledger.states.items())]

    def _problems(self) -> list[dict[str, str]]:
        problems = []
        if self.refused is not None:
            reason = self.refused.reason.value
            problems.append({"subject": "desired-state", "reason": reason, "message": str(self.refused)})
        if self._keeper.front_problem:
            problems.append({"subject": "front", "reason": "PORT_TAKEN", "message": self._keeper.front_problem})
        return problems

    def _algorithm(self, state: AlgorithmState, *, measured: bool) -> dict[str, Any]:
        served = state.served
        told: dict[str, Any] = {
            "name": state.name,
            "state": state.wanted.goal.value,
            "phase": state.phase.value,
            "since_time": _time(state.since_at),
            "reason": state.reason.value if state.reason else "",
            "message": state.message,
            "attempts": state.attempts,
            "gate": state.gate,
            "desired": _version(state.wanted.version),
            "desired_package_id": state.wanted.version.package_id,
            "active": _version(served),
            "active_package_id": served.package_id if served else "",
            "active_release": served.release if served else "",
            "previous": _version(state.previous),
            "previous_package_id": state.previous.package_id if state.previous else "",
        }
        if measured:
            stats: Mapping[str, Any] = self._keeper.stats.get(state.name, {})
            told |= {"fps": stats.get("fps", 0.0), "latency_ms": stats.get("latency_ms", 0.0)}
        return told


def _version(version: Version | None) -> dict[str, str] | None:
    return None if version is None else {"package_id": version.package_id, "release": version.release}


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
