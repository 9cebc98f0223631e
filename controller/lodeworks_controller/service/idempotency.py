"""Mutations that may be repeated: what was made for a request id is answered again, not made again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.store import Transaction

_LONGEST: Final = 100


class IdempotencyRows(Protocol):
    """The requests that were carried out, as one transaction sees them."""

    async def get(self, principal_key: str, method: str, request_id: str) -> str | None:
        """Returns the id of what the request made, or None if it is new."""
        ...

    async def put(self, principal_key: str, method: str, request_id: str, *, result_id: str) -> None:
        """Notes what the request made."""
        ...

    async def prune(self, *, before: datetime) -> int:
        """Forgets requests from before the moment; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class Once:
    """One intent of one caller.

    Used inside the unit of work that carries the intent out::

        made = await once.result(tx)
        if made is not None:
            return await tx.things.get(made)
        ...
        await once.keep(tx, thing.id)

    Attributes:
        principal_key: Who asks: ``user:<id>``, as `Principal.actor` says.
        method: What for: ``project.create``.
        request_id: Chosen by the caller; empty means that the caller forgoes repeating.
    """

    principal_key: str
    method: str
    request_id: str

    async def result(self, tx: Transaction) -> str | None:
        """Returns the id of what this intent already made, or None."""
        if len(self.request_id) > _LONGEST:
            raise InvalidError(
                "REQUEST_ID_INVALID", f"a request id has at most {_LONGEST} characters", field="request_id"
            )
        if not self.request_id:
            return None
        return await tx.idempotency.get(self.principal_key, self.method, self.request_id)

    async def keep(self, tx: Transaction, result_id: str) -> None:
        """Notes what the intent made."""
        if self.request_id:
            await tx.idempotency.put(self.principal_key, self.method, self.request_id, result_id=result_id)
