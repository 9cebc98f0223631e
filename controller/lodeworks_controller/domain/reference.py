"""Names: what a thing may be called, and how a version or a stage of it is written.

``name`` is a thing, ``name@3`` a version of it, ``name@3:epoch_10`` a stage of that version. Without a number the newest
READY version is meant; without a stage the recommended one.
"""

import unicodedata
from dataclasses import dataclass

from lodeworks_controller.errors import InvalidError

NAME_LENGTH = 100
_FORBIDDEN = frozenset("@:,/\\\"'`$*?<>|=")


def check_name(name: str, *, field: str = "name") -> str:
    """Returns the name in normal form (NFC, no blanks at the ends), or raises InvalidError."""
    clean = unicodedata.normalize("NFC", name).strip()
    if not clean:
        raise InvalidError("NAME_EMPTY", f"{field} is empty; give one", field=field)
    if len(clean) > NAME_LENGTH:
        raise InvalidError("NAME_TOO_LONG", f"{field} has {len(clean)} characters; at most {NAME_LENGTH}", field=field)
    bad = sorted({mark for mark in clean if mark in _FORBIDDEN or not mark.isprintable()})
    if bad:
        shown = " ".join(repr(mark) for mark in bad)
        raise InvalidError("NAME_CHARACTER", f"{field} {clean!r} holds {shown}; leave it out", field=field)
    if clean.startswith("-"):
        raise InvalidError("NAME_CHARACTER", f"{field} {clean!r} starts with '-'; options do that", field=field)
    return clean


def fold(name: str) -> str:
    """Returns the form in which names are compared: NFC and casefold, so that ``RBC`` and ``rbc`` are one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@dataclass(frozen=True, slots=True)
class Reference:
    """What a person wrote to mean a thing, a version of it, or a stage of that."""

    name: str
    number: int | None = None
    stage: str | None = None

    def __str__(self) -> str:
        number = "" if self.number is None else f"@{self.number}"
        return f"{self.name}{number}" + ("" if self.stage is None else f":{self.stage}")


def parse_reference(text: str, *, field: str = "name") -> Reference:
    """Returns the parts of ``name[@N][:stage]``, or raises InvalidError."""
    head, colon, stage = text.strip().partition(":")
    name, at, digits = head.partition("@")
    if at and not (digits.isascii() and digits.isdigit() and int(digits) > 0):
        message = f"{text!r} names no version: after '@' stands a number from 1, as in {name or 'name'}@3"
        raise InvalidError("VERSION_NUMBER", message, field=field)
    if colon and not stage:
        raise InvalidError("STAGE_EMPTY", f"{text!r} ends with ':'; write the stage behind it or nothing", field=field)
    return Reference(check_name(name, field=field), int(digits) if at else None, stage if colon else None)
