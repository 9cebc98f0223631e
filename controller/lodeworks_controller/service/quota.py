"""Quotas as one transaction sees them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from lodeworks_controller.domain.task.quota import Quota, Quotas

if TYPE_CHECKING:
    from lodeworks_controller.service.store import Transaction

_REMEMBERED: Final = timedelta(seconds=1)


class QuotaRows(Protocol):
    """The quotas as one transaction sees them. No method commits."""

    async def all(self) -> Quotas:
        """Returns every quota that is set."""
        ...

    async def put(self, quota: Quota) -> None:
        """Stores a quota in place of an earlier one."""
        ...


class RememberedQuotas:
    """The quotas of a moment ago: whoever asks at each poll need not read them each time."""

    def __init__(self) -> None:
        self._quotas = Quotas()
        self._read_at: datetime | None = None

    async def at(self, tx: Transaction) -> Quotas:
        """Returns the quotas, at most a second old."""
        now = tx.now()
        if self._read_at is None or not timedelta() <= now - self._read_at < _REMEMBERED:
            self._quotas, self._read_at = await tx.quotas.all(), now
        return self._quotas
