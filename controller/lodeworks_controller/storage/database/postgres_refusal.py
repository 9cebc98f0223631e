"""What a failure of PostgreSQL means to a caller."""

from typing import Final

from asyncpg import InterfaceError as DriverInterfaceError
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from lodeworks_controller.errors import ExhaustedError, InvalidError, LodeworksError, UnavailableError

AWAY: Final = "DATABASE_AWAY"

_BUSY = frozenset({"40001", "40P01", "55P03", "57014"})
"""Serialization, deadlock, lock not to be had in time, statement stopped."""
_AWAY = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "53300", "25006", "25P02"})
"""Shutting down, starting up, session ended, too many connections, a standby, a transaction that failed before."""
_FULL = frozenset({"53100", "53200"})
_TEXT = frozenset({"22021", "22P05"})
_LOST = (OSError, TimeoutError, PoolTimeoutError, DisconnectionError, InterfaceError, DriverInterfaceError)
_MISTAKEN = {
    "28P01": "it refuses the password",
    "28000": "it refuses the user",
    "3D000": "it has no database of that name; create it with `createdb`",
}


def refusal(error: Exception) -> LodeworksError | None:
    """Returns what to tell a caller about an error of the driver, or None for a fault of ours."""
    state = _sqlstate(error)
    if state in _BUSY:
        return UnavailableError(
            "DATABASE_BUSY", "another controller was at the same rows; try again", retry_after_s=0.1
        )
    if state in _FULL:
        return ExhaustedError("DISK_FULL", "the database's disk is full; make room and repeat")
    if state in _TEXT:
        return InvalidError("TEXT_INVALID", "a text holds a character that a database cannot keep (NUL); leave it out")
    if state in _MISTAKEN:
        return UnavailableError("DATABASE_REFUSED", f"the database server does not let us in: {_MISTAKEN[state]}")
    if state in _AWAY or state.startswith("08") or _lost(error):
        return server_away(error)
    return None


def server_away(error: Exception) -> UnavailableError:
    """Returns the refusal for a server that does not answer."""
    why = " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
    return UnavailableError(AWAY, f"the database server does not answer ({why}); try again")


def _sqlstate(error: Exception) -> str:
    while error is not None:
        found = getattr(error, "sqlstate", None)
        if isinstance(found, str):
            return found
        error = getattr(error, "orig", None) or error.__cause__  # type: ignore[assignment]
    return ""


def _lost(error: Exception) -> bool:
    if isinstance(error, _LOST):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated
