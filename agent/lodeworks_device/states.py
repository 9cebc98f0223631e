"""One algorithm's way on a device: the phases it passes through and who may move it. Pure: no I/O, no clock.

    IDLE → ACCEPTED → PREFLIGHT → FETCHING → VERIFIED → STAGED → STARTING → GATING → COMMITTED
    any of these → FAILED                    STARTING | GATING → ROLLING_BACK → ROLLED_BACK

`committed` changes in `commit` alone (and in `revert`, which goes back). What is served follows from the state:
`committed` while the goal is RUNNING, nothing else. The candidate is `trial` until it is proven.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from lodeworks_device.reasons import Reason

MOST_TRANSITIONS = 60
"""Moves that one generation may take before the loop breaker ends it."""

MOST_DEATHS = 2
"""Unexplained deaths of a trial after which its package is not tried again until the next generation."""


class Phase(Enum):
    """Where an algorithm is on its way."""

    IDLE = "IDLE"
    ACCEPTED = "ACCEPTED"
    PREFLIGHT = "PREFLIGHT"
    FETCHING = "FETCHING"
    VERIFIED = "VERIFIED"
    STAGED = "STAGED"
    STARTING = "STARTING"
    GATING = "GATING"
    COMMITTED = "COMMITTED"
    FAILED = "FAILED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"


class Goal(Enum):
    """What shall become of an algorithm."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


_NEXT = {
    Phase.ACCEPTED: {Phase.PREFLIGHT},
    Phase.PREFLIGHT: {Phase.FETCHING},
    Phase.FETCHING: {Phase.VERIFIED},
    Phase.VERIFIED: {Phase.STAGED},
    Phase.STAGED: {Phase.STARTING},
    Phase.STARTING: {Phase.GATING, Phase.COMMITTED},
    Phase.GATING: {Phase.COMMITTED},
    Phase.ROLLING_BACK: {Phase.ROLLED_BACK},
}
_RUNNING_TRIAL = frozenset({Phase.STARTING, Phase.GATING})
WORKING = frozenset({*_NEXT})
"""Phases in which the agent has something to do."""


@dataclass(frozen=True, slots=True)
class Version:
    """One package under the name of its release, such as `cells@2`."""

    package_id: str
    release: str
    release_path: str = ""
    manifest_size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one generation wants of one algorithm. `gate` tightens the proof: soak_s, max_latency_ms."""

    name: str
    version: Version
    goal: Goal
    generation: int
    confidence: float | None = None
    gate: Mapping[str, Any] = field(default_factory=dict)

    def same_aim(self, other: "Wanted") -> bool:
        """Says whether both lead to the same: settings and generation aside."""
        versions = (self.version.package_id, self.version.release) == (other.version.package_id, other.version.release)
        return versions and self.goal is other.goal and dict(self.gate) == dict(other.gate)


@dataclass(frozen=True, slots=True)
class AlgorithmState:
    """How one algorithm stands."""

    name: str
    wanted: Wanted
    phase: Phase
    since_at: datetime
    committed: Version | None = None
    previous: Version | None = None
    trial: Version | None = None
    reason: Reason | None = None
    message: str = ""
    attempts: int = 0
    deaths: int = 0
    gate: Mapping[str, Any] | None = None
    transitions: int = 0
    committed_at: datetime | None = None
    reverted: bool = False

    @classmethod
    def begin(cls, wanted: Wanted, *, at: datetime) -> "AlgorithmState":
        """Returns the state of an algorithm that this device has never had."""
        return cls(wanted.name, wanted, Phase.IDLE, at).want(wanted, at=at)

    @property
    def served(self) -> Version | None:
        """The version that answers, None when none shall."""
        return self.committed if self.wanted.goal is Goal.RUNNING else None

    @property
    def alive(self) -> tuple[Version, ...]:
        """The versions whose processes may run: the served one and the trial."""
        running = [self.served] if self.served else []
        if self.trial is not None and self.phase in _RUNNING_TRIAL and self.trial not in running:
            running.append(self.trial)
        return tuple(running)

    @property
    def pinned(self) -> frozenset[str]:
        """Packages that must stay in the store."""
        versions = (self.committed, self.previous, self.trial, self.wanted.version)
        return frozenset(version.package_id for version in versions if version is not None)

    def want(self, wanted: Wanted, *, at: datetime) -> "AlgorithmState":
        """Returns the state under a new generation; a way that leads to the same goal is gone on with."""
        fresh = replace(self, wanted=wanted, transitions=0)
        same = self.wanted.same_aim(wanted)
        if same and (self.phase in _NEXT or self.phase is Phase.COMMITTED):
            return fresh
        calm = replace(fresh, since_at=at, reason=None, message="", trial=None, attempts=0, deaths=0)
        if wanted.goal is not Goal.RUNNING:
            return replace(calm, phase=Phase.IDLE)
        if self.committed is None or self.committed.package_id != wanted.version.package_id:
            return replace(calm, phase=Phase.ACCEPTED, gate=None)
        # Another release may hold the very same package.
        committed = replace(calm, committed=wanted.version)
        if self.wanted.goal is Goal.RUNNING:
            return replace(committed, phase=Phase.COMMITTED)
        return replace(committed, phase=Phase.STARTING)

    def move(self, to: Phase, *, at: datetime, **changes: Any) -> "AlgorithmState":
        """Returns the state in its next phase; one that goes round in circles fails."""
        if to not in _NEXT.get(self.phase, set()):
            raise ValueError(f"{self.name} cannot go from {self.phase.value} to {to.value}")
        if self.transitions >= MOST_TRANSITIONS:
            return self.fail(Reason.LOOP, f"{self.transitions} steps led nowhere", at=at)
        return replace(self, phase=to, since_at=at, transitions=self.transitions + 1, **changes)

    def commit(self, gate: Mapping[str, Any], *, at: datetime) -> "AlgorithmState":
        """Returns the state with the proven trial as the version that answers."""
        assert self.trial is not None
        same = self.committed is not None and self.committed.package_id == self.trial.package_id
        return self.move(
            Phase.COMMITTED,
            at=at,
            committed=self.trial,
            previous=self.previous if same else self.committed,
            trial=None,
            gate=gate,
            reason=None,
            message="",
            committed_at=at,
            reverted=False,
        )

    def fail(self, reason: Reason, message: str, *, at: datetime) -> "AlgorithmState":
        """Returns the state after a refusal; a trial that already ran is rolled back."""
        back = self.phase in _RUNNING_TRIAL and self.trial is not None and self.committed is not None
        return replace(
            self,
            phase=Phase.ROLLING_BACK if back else Phase.FAILED,
            since_at=at,
            reason=reason,
            message=message,
            trial=self.trial if back else None,
        )

    def rolled_back(self, *, at: datetime) -> "AlgorithmState":
        """Returns the state once nothing of the trial runs any more."""
        return replace(self, phase=Phase.ROLLED_BACK, since_at=at, trial=None)

    def die(self, message: str, *, at: datetime) -> "AlgorithmState":
        """Returns the state after a trial was found dead before it was proven: tried again, then refused."""
        deaths = self.deaths + 1
        counted = replace(self, deaths=deaths)
        if deaths >= MOST_DEATHS:
            return counted.fail(Reason.CRASHED, message, at=at)
        return replace(counted, phase=Phase.STARTING, transitions=self.transitions + 1)

    def revert(self, message: str, *, at: datetime) -> "AlgorithmState":
        """Returns the state with the version before, once, after the committed one kept crashing."""
        assert self.previous is not None
        return replace(
            self,
            phase=Phase.ROLLED_BACK,
            since_at=at,
            committed=self.previous,
            previous=None,
            reason=Reason.CRASHED,
            message=message,
            reverted=True,
        )
