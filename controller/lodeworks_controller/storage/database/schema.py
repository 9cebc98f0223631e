"""The metadata that every table registers on, and the column types that they share."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Dialect, MetaData, String, Text, TypeDecorator

from lodeworks_controller.domain.clock import from_micros, to_micros

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

Id = String(26)
Digest = String(64)


class Instant(TypeDecorator[datetime]):
    """A moment as BIGINT microseconds in UTC; aware ``datetime`` in Python."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Returns what the column holds."""
        del dialect
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Returns what Python sees."""
        del dialect
        return None if value is None else from_micros(value)


class JsonText(TypeDecorator[Any]):
    """A JSON value as text with sorted keys; None stays NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Returns what the column holds."""
        del dialect
        return None if value is None else _ENCODE(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Returns what Python sees."""
        del dialect
        return None if value is None else json.loads(value)
