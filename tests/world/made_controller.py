"""A controller in memory for a worker's unit tests: leases, offsets and stored answers as the real one keeps them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from lodeworks_worker.control_plane import (
    Directive,
    Fingerprint,
    Health,
    Held,
    LeaseAnswer,
    LeaseReport,
    MetricPoint,
    Polled,
    Scope,
    Session,
    Verdict,
)
from lodeworks_worker.errors import LeaseLostError, LogGapError, SessionLostError, UnreachableError
from lodeworks_worker.grant import Grant
from lodeworks_worker.outcome import Outcome


@dataclass
class MadeController:
    """Grants what lies in `waiting`; keeps logs, metrics and outcomes by (task, epoch). `away` lets every call fail.

    `calls` counts what came, `turned_away` what it did not answer, `stale` what it refused for want of a lease,
    `polls` those that it answered: tests wait on these.
    """

    waiting: list[Grant] = field(default_factory=list)
    directives: list[Directive] = field(default_factory=list)
    leased: dict[tuple[str, int], Grant] = field(default_factory=dict)
    logs: dict[tuple[str, str], bytearray] = field(default_factory=dict)
    metrics: dict[str, list[MetricPoint]] = field(default_factory=dict)
    outcomes: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    request_ids: list[str] = field(default_factory=list)
    listed: set[tuple[str, int]] = field(default_factory=set)
    reports: list[LeaseReport] = field(default_factory=list)
    registered: list[tuple[str, tuple[Held, ...]]] = field(default_factory=list)
    checkpoints: list[tuple[Scope, str, int]] = field(default_factory=list)
    fingerprint: Fingerprint | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    kill: frozenset[str] = frozenset()
    away: bool = False
    loses_replies: bool = False
    session: int = 0
    calls: int = 0
    turned_away: int = 0
    stale: int = 0
    polls: int = 0

    def _answering(self) -> None:
        self.calls += 1
        if self.away:
            self.turned_away += 1
            raise UnreachableError("nobody answers")

    def _leased(self, task_id: str, lease_epoch: int) -> None:
        self._answering()
        if (task_id, lease_epoch) not in self.leased:
            self.stale += 1
            raise LeaseLostError(task_id)

    async def register(self, *, boot_id: str, fingerprint: Fingerprint, held: Sequence[Held]) -> Session:
        self._answering()
        self.session += 1
        self.fingerprint = fingerprint
        self.registered.append((boot_id, tuple(held)))
        adopt = frozenset(one.task_id for one in held) - self.kill
        return Session(
            id=str(self.session),
            epoch=self.session,
            poll_wait_s=0.05,
            report_interval_s=0.05,
            adopt=adopt,
            kill=self.kill,
        )

    def _check(self, session: str) -> None:
        self._answering()
        if session != str(self.session):
            raise SessionLostError("register again")

    async def poll(
        self,
        session: str,
        *,
        max_leases: int,
        wait_s: float,
        have_directive_seq: int,
        free_gpus: Sequence[str],
        used_gpus: Sequence[str] = (),
    ) -> Polled:
        self._check(session)
        await asyncio.sleep(0.005)
        # A grant that no report has listed is sent again: its worker may have died with the reply.
        unlisted = [one for key, one in self.leased.items() if key not in self.listed]
        grants, self.waiting = [*unlisted, *self.waiting[:max_leases]], self.waiting[max_leases:]
        self.leased.update({(one.task_id, one.lease_epoch): one for one in grants})
        orders = tuple(one for one in self.directives if one.seq > have_directive_seq)
        self.polls += 1
        return Polled(tuple(grants), orders)

    async def report(
        self, session: str, *, seq: int, leases: Sequence[LeaseReport], health: Health
    ) -> Sequence[LeaseAnswer]:
        self._check(session)
        self.reports.extend(leases)
        self.listed.update((one.task_id, one.lease_epoch) for one in leases)
        return [LeaseAnswer(one.task_id, one.lease_epoch, self.verdicts.get(one.task_id, Verdict.OK)) for one in leases]

    async def complete(self, session: str, outcome: Outcome) -> None:
        self._check(session)
        key = (outcome.task_id, outcome.lease_epoch)
        self.request_ids.append(outcome.request_id)
        stored = self.outcomes.get(key)
        if stored is None:
            self._leased(*key)
            self.outcomes[key] = outcome
            del self.leased[key]
        elif stored.request_id != outcome.request_id:
            raise LeaseLostError(outcome.task_id)
        if self.loses_replies:
            self.loses_replies = False
            raise UnreachableError("the reply was lost")

    async def append_log(self, scope: Scope, *, stream: str, offset: int, data: bytes) -> int:
        self._leased(scope.task_id, scope.lease_epoch)
        log = self.logs.setdefault((scope.task_id, stream), bytearray())
        if offset > len(log):
            raise LogGapError(committed=len(log))
        log.extend(data[len(log) - offset :])
        return len(log)

    async def save_checkpoint(self, scope: Scope, *, digest: str, size_bytes: int) -> None:
        self._leased(scope.task_id, scope.lease_epoch)
        self.checkpoints.append((scope, digest, size_bytes))

    async def append_metrics(self, scope: Scope, *, offset: int, points: Sequence[MetricPoint]) -> int:
        self._leased(scope.task_id, scope.lease_epoch)
        series = self.metrics.setdefault(scope.task_id, [])
        series.extend(points[len(series) - offset :])
        return len(series)
