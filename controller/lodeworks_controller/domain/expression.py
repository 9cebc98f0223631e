"""Conditions on pictures, as people write them.

::

    width >= 640 and (class = "RBC" or class = WBC) and not tag = night
    boxes("Platelets") > 3 or boxes = 0
    annotated and aspect < 1

Words: ``class``, ``tag`` (= or !=); ``width``, ``height``, ``size_bytes``, ``megapixels``, ``aspect``, ``boxes``,
``boxes("NAME")`` (compared with a number); ``annotated``; ``and``, ``or``, ``not`` and brackets. A name with blanks or
marks stands in quotes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lodeworks_controller.domain.outcome import HasPrediction
from lodeworks_controller.errors import InvalidError

MEASURES = ("width", "height", "size_bytes", "megapixels", "aspect", "boxes")
COMPARISONS = ("<=", ">=", "!=", "==", "=", "<", ">")
_KEYWORDS = frozenset({"and", "or", "not", "class", "tag", "annotated", *MEASURES})
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?\d+(?:\.\d+)?)(?![\w.])|(?P<quoted>"[^"]*"|'[^']*')|(?P<compare><=|>=|!=|==|=|<|>)"""
    r"""|(?P<bracket>[()])|(?P<word>[^\s()<>=!"']+))"""
)
_DEPTH = 50


@dataclass(frozen=True, slots=True)
class HasClass:
    """At least one box of the class."""

    name: str


@dataclass(frozen=True, slots=True)
class HasTag:
    """The picture carries the tag in this version."""

    tag: str


@dataclass(frozen=True, slots=True)
class Annotated:
    """Somebody looked: there is a ground-truth record, if only an empty one."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A measure of the picture against a number; ``class_name`` narrows ``boxes`` to one class."""

    measure: str
    operator: str
    number: float
    class_name: str | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; true without parts."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds; false without parts."""

    parts: "tuple[Condition, ...]"


Condition = HasClass | HasTag | Annotated | Compare | HasPrediction | Not | All | AnyOf


def class_names(condition: Condition) -> tuple[str, ...]:
    """Returns the names of classes that the condition speaks of, once each."""
    return tuple(dict.fromkeys(_class_names(condition)))


def _class_names(condition: Condition) -> Iterator[str]:
    match condition:
        case HasClass(name=name):
            yield name
        case Compare(class_name=str(name)):
            yield name
        case HasPrediction(classes=classes):
            yield from classes
        case Not(part=part):
            yield from _class_names(part)
        case All(parts=parts) | AnyOf(parts=parts):
            for part in parts:
                yield from _class_names(part)
        case _:
            return


def parse_condition(text: str) -> Condition:
    """Returns the condition, or raises InvalidError that shows the place."""
    return _Parser(text).parse()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class _Parser:
    """Reads a condition from left to right; ``or`` binds less than ``and``, ``and`` less than ``not``."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._position = 0
        self._depth = 0

    def parse(self) -> Condition:
        condition = self._any()
        if self._peek() is not None:
            raise self._wrong("'and', 'or' or the end")
        return condition

    def _split(self) -> list[_Token]:
        tokens, position = [], 0
        while self._text[position:].strip():
            match = _TOKEN.match(self._text, position)
            if match is None:
                raise self._error(position, "cannot be read")
            kind = match.lastgroup or ""
            tokens.append(_Token(kind, match.group(kind), match.start(kind)))
            position = match.end()
        return tokens

    def _peek(self) -> _Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _take(self, kind: str, *, text: str | None = None) -> _Token | None:
        token = self._peek()
        if token is None or token.kind != kind or (text is not None and token.text.lower() != text):
            return None
        self._position += 1
        return token

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._take("word", text="or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._take("word", text="and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _DEPTH:
            raise InvalidError("FILTER_INVALID", f"the expression nests more than {_DEPTH} deep", field="expression")
        try:
            if self._take("word", text="not"):
                return Not(self._one())
            if self._take("bracket", text="("):
                inner = self._any()
                if self._take("bracket", text=")") is None:
                    raise self._wrong("')'")
                return inner
            return self._predicate()
        finally:
            self._depth -= 1

    def _predicate(self) -> Condition:
        if self._take("word", text="annotated"):
            return Annotated()
        for word, make in (("class", HasClass), ("tag", HasTag)):
            if self._take("word", text=word):
                operator = self._operator(("=", "==", "!="))
                found: Condition = make(self._value())
                return Not(found) if operator == "!=" else found
        for measure in MEASURES:
            if self._take("word", text=measure):
                return self._compare(measure)
        raise self._wrong("class, tag, annotated, " + ", ".join(MEASURES))

    def _compare(self, measure: str) -> Condition:
        name = None
        if measure == "boxes" and self._take("bracket", text="("):
            name = self._value()
            if self._take("bracket", text=")") is None:
                raise self._wrong("')'")
        operator = self._operator(COMPARISONS)
        number = self._take("number")
        if number is None:
            raise self._wrong("a number")
        return Compare(measure, "=" if operator == "==" else operator, float(number.text), name)

    def _operator(self, allowed: tuple[str, ...]) -> str:
        token = self._peek()
        if token is None or token.kind != "compare" or token.text not in allowed:
            raise self._wrong(" or ".join(allowed))
        self._position += 1
        return token.text

    def _value(self) -> str:
        token = self._take("quoted")
        if token is not None:
            return token.text[1:-1]
        token = self._take("number") or self._take("word")
        if token is None or token.text.lower() in _KEYWORDS:
            raise self._wrong("a name")
        return token.text

    def _wrong(self, wanted: str) -> InvalidError:
        token = self._peek()
        if token is None:
            return self._error(len(self._text), f"ends where {wanted} should stand")
        return self._error(token.at, f"has {token.text!r} where {wanted} should stand")

    def _error(self, position: int, what: str) -> InvalidError:
        message = f"the expression {self._text!r} {what} (character {position + 1})"
        return InvalidError("FILTER_INVALID", message, field="expression", position=position + 1)
