"""Labels of workers, and what a task asks of them: ``gpu=a100,site!=annex,ssd,!slow,zone in (a b)``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lodeworks_controller.errors import InvalidError

_WORD: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_TERM: Final = re.compile(
    rf"(?P<without>!\s*)?(?P<key>{_WORD})"
    rf"(?:\s*(?P<sign>!=|==|=)\s*(?P<value>{_WORD})|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?"
)
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """One condition: the label of that key is one of the values, or is none of them.

    Without values: the label is there, or is not.
    """

    key: str
    values: tuple[str, ...] = ()
    wanted: bool = True

    def met(self, labels: Mapping[str, str]) -> bool:
        """Says whether labels meet it; a missing label is none of any values."""
        found = self.key in labels if not self.values else labels.get(self.key) in self.values
        return found is self.wanted

    def __str__(self) -> str:
        """Returns it as people write it."""
        if not self.values:
            return self.key if self.wanted else f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.wanted else '!='}{self.values[0]}"
        return f"{self.key} {'in' if self.wanted else 'notin'} ({' '.join(self.values)})"


def parse_labels(text: str) -> tuple[Term, ...]:
    """Returns the conditions of an expression, in one order whatever way it was written. Raises InvalidError."""
    if len(text) > _LONGEST:
        raise InvalidError("LABELS_TOO_LONG", f"a label expression has at most {_LONGEST} characters", field="labels")
    return tuple(sorted({_term(part.strip()) for part in text.split(",") if part.strip()}))


def canonical_labels(text: str) -> str:
    """Returns the same expression in the one way that compares equal. Raises InvalidError."""
    return ",".join(str(term) for term in parse_labels(text))


def met(terms: tuple[Term, ...], labels: Mapping[str, str]) -> bool:
    """Says whether labels meet every condition."""
    return all(term.met(labels) for term in terms)


def _term(part: str) -> Term:
    found = _TERM.fullmatch(part)
    if found is None or (found["without"] and (found["sign"] or found["set"])):
        raise _unreadable(part)
    if found["sign"]:
        return Term(found["key"], (found["value"],), found["sign"] != "!=")
    if found["set"]:
        values = tuple(sorted(set(found["values"].split())))
        if not values or not all(re.fullmatch(_WORD, value) for value in values):
            raise _unreadable(part)
        return Term(found["key"], values, found["set"] == "in")
    return Term(found["key"], (), not found["without"])


def _unreadable(part: str) -> InvalidError:
    return InvalidError(
        "LABELS_UNREADABLE",
        f"{part!r} is no condition on labels; write key=value, key!=value, key, !key or key in (a b)",
        field="labels",
    )
