"""Names: what a thing may be called, and how a version or a stage of it is written.

``name`` is a thing, ``name@3`` a version of it, ``name@3:epoch_10`` a stage of that version. Without a number the
newest READY version is meant; without a stage the recommended one.
"""

import unicodedata
from dataclasses import dataclass

from lodeworks_controller.domain.ids import is_id
from lodeworks_controller.errors import InvalidError

NAME_LENGTH = 100
_MARKS = frozenset("-_.")


def check_name(name: str, *, field: str = "name") -> str:
    """Returns the name in normal form (NFC, no blanks at the ends), or raises InvalidError NAME_INVALID."""
    clean = unicodedata.normalize("NFC", name).strip()
    allowed = f"1 to {NAME_LENGTH} letters, digits, '-', '_' or '.', beginning with a letter or digit"
    if not clean:
        raise InvalidError("NAME_INVALID", f"the name is empty; give {allowed}", field=field)
    wrong = next((mark for mark in clean if not (mark.isalnum() or mark in _MARKS)), None)
    if wrong is not None:
        raise InvalidError("NAME_INVALID", f"the name {clean!r} holds {wrong!r}; give {allowed}", field=field)
    if len(clean) > NAME_LENGTH or not clean[0].isalnum():
        raise InvalidError("NAME_INVALID", f"the name {clean!r} is not usable; give {allowed}", field=field)
    if is_id(clean):
        raise InvalidError("NAME_INVALID", f"the name {clean!r} looks like an id; pick another", field=field)
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
        raise InvalidError("NAME_INVALID", message, field=field)
    if colon and not stage:
        raise InvalidError("NAME_INVALID", f"{text!r} ends with ':'; write the stage behind it or nothing", field=field)
    return Reference(check_name(name, field=field), int(digits) if at else None, stage if colon else None)
