"""How a PostgreSQL database is named, and how connections to it are made."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from lodeworks_controller.errors import InvalidError

_SCHEMES = frozenset({"postgresql", "postgres"})
_KNOWN = frozenset({"host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey"})
_SESSION = {
    "application_name": "lode-controller",
    "jit": "off",  # compiling costs more than our short statements run
    "timezone": "UTC",
    "lock_timeout": "20s",
    # A controller whose machine lost its power holds locks until the server sees that it is gone.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_CONNECT_S = 10.0
FROZEN_S = 10.0


def is_postgres(address: object) -> bool:
    """Says whether an address names a PostgreSQL database."""
    return isinstance(address, str) and urlsplit(address).scheme in _SCHEMES


def driver_arguments(url: str) -> Mapping[str, Any]:
    """Returns what the driver takes for an address, or raises InvalidError with what is wrong about it."""
    parts, query = _parsed(url)
    known: dict[str, Any] = {
        "host": query.get("host") or _unquoted(parts.hostname),
        "port": int(query["port"]) if query.get("port", "").isdecimal() else parts.port,
        "user": query.get("user") or _unquoted(parts.username),
        "password": query.get("password") or _unquoted(parts.password),
        "database": query.get("dbname") or unquote(parts.path.lstrip("/")),
    }
    if not known["database"]:
        raise _wrong("it names no database")
    tls = {name: value for name, value in query.items() if name.startswith("ssl")}
    return {**{name: value for name, value in known.items() if value is not None}, **_tls(tls)}


def without_secret(url: str) -> str:
    """Returns the address as it may be shown: without its password."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}@" if parts.username else ""
    kept = [pair for pair in parse_qsl(parts.query) if pair[0] != "password"]
    query = "&".join(f"{name}={value}" for name, value in kept)
    return f"{parts.scheme}://{user}{place}{parts.path}" + (f"?{query}" if query else "")


def postgres_engine(url: str, *, connections: int, frozen_s: float = FROZEN_S) -> AsyncEngine:
    """Returns an engine with a pool of at most so many connections; none is made yet.

    Args:
        url: The database.
        connections: At most so many.
        frozen_s: How long a unit of work may do nothing before the server ends it: a controller that freezes inside
            one must not hold the others up for ever.
    """
    arguments = dict(driver_arguments(url))
    return create_async_engine(
        URL.create("postgresql+asyncpg"),
        pool_size=connections,
        max_overflow=0,
        connect_args={
            **arguments,
            "timeout": _CONNECT_S,
            "server_settings": {**_SESSION, "idle_in_transaction_session_timeout": str(round(frozen_s * 1000))},
            "prepared_statement_cache_size": 1_000,
        },
    )


def _parsed(url: str) -> tuple[SplitResult, dict[str, str]]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise _wrong(str(error)) from error
    if parts.scheme not in _SCHEMES:
        raise _wrong("it does not begin with postgresql://")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := set(query) - _KNOWN:
        raise _wrong(f"it sets {', '.join(sorted(unknown))}; known are {', '.join(sorted(_KNOWN))}")
    return parts, query


def _tls(query: Mapping[str, str]) -> Mapping[str, Any]:
    """Returns the driver's ``ssl`` for libpq's words; files are checked when the first connection is made."""
    if not query:
        return {}
    if set(query) == {"sslmode"}:
        return {"ssl": query["sslmode"]}
    # The driver reads certificates from a DSN alone.
    pairs = "&".join(f"{name}={value}" for name, value in query.items())
    return {"dsn": f"postgresql://?{pairs}"}


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _wrong(why: str) -> InvalidError:
    return InvalidError(
        "DATABASE_URL",
        f"the address of the database is wrong: {why}; write postgresql://user:password@host:5432/name",
        field="database_url",
    )
