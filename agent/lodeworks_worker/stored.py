"""Turns the worker's frozen dataclasses into JSON and back, for the journal."""

import base64
import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def to_plain(value: Any) -> Any:
    """Returns a value that JSON can hold: dataclasses become objects, enums their values, bytes base64."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: type[_T], plain: Any) -> _T:
    """Returns what to_plain made of a `kind`. Unknown keys are skipped: an older worker reads a newer journal."""
    made: _T = _made(kind, plain)
    return made


def _made(kind: Any, plain: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if plain is None else _made(next(arm for arm in arguments if arm is not type(None)), plain)
    if origin is tuple:
        return tuple(_made(arguments[0], item) for item in plain)
    if origin is not None and isinstance(plain, dict):
        return {key: _made(arguments[1], item) for key, item in plain.items()}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        known = {field.name for field in dataclasses.fields(kind)}
        return kind(**{key: _made(hints[key], item) for key, item in plain.items() if key in known})  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(plain)
    return base64.b64decode(plain) if kind is bytes else plain
