"""The settings of a run: config.yaml, read with types."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from lodeworks_formats.protocol import RESERVED_KEYS

from lodeworks_executor.errors import BadSettingError

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Settings(Mapping[str, object]):
    """The flat settings of a run. A getter without a default asks for a value."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> object:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def integer(
        self, key: str, *, default: int | None = None, minimum: int | None = None, maximum: int | None = None
    ) -> int:
        """Returns a whole number; 20, 20.0 and "20" are the same."""
        value = self._present(key, default)
        try:
            number = float(str(value)) if not isinstance(value, bool) else math.nan
        except ValueError:
            number = math.nan
        if not number.is_integer():
            raise BadSettingError(key, f"wants a whole number, not {value!r}")
        _check_range(key, number, minimum=minimum, maximum=maximum)
        return int(number)

    def number(
        self, key: str, *, default: float | None = None, minimum: float | None = None, maximum: float | None = None
    ) -> float:
        """Returns a finite number."""
        value = self._present(key, default)
        try:
            number = float(str(value)) if not isinstance(value, bool) else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise BadSettingError(key, f"wants a number, not {value!r}")
        _check_range(key, number, minimum=minimum, maximum=maximum)
        return number

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Returns true or false; the usual spellings of YAML are understood."""
        value = str(self._present(key, default)).strip().lower()
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise BadSettingError(key, f"wants true or false, not {self._values[key]!r}")

    def text(self, key: str, *, default: str | None = None, choices: Collection[str] | None = None) -> str:
        """Returns a text, one of the choices if any are given (case does not matter)."""
        value = self._present(key, default)
        if isinstance(value, list | dict):
            raise BadSettingError(key, f"wants a text, not {value!r}")
        text = str(value).strip()
        if choices is None:
            return text
        for choice in choices:
            if choice.lower() == text.lower():
                return choice
        raise BadSettingError(key, f"wants one of {', '.join(sorted(choices))}, not {text!r}")

    def texts(self, key: str, *, default: Sequence[str] | None = None) -> list[str]:
        """Returns a list of texts, written as a YAML list or with commas between."""
        value = self._present(key, list(default) if default is not None else None)
        if isinstance(value, dict):
            raise BadSettingError(key, f"wants a list, not {value!r}")
        parts = value if isinstance(value, list) else str(value).split(",")
        return [text for text in (str(part).strip() for part in parts) if text]

    def integers(self, key: str, *, default: Sequence[int] | None = None, minimum: int | None = None) -> list[int]:
        """Returns a list of whole numbers, written as a YAML list or with commas between."""
        texts = self.texts(key, default=[str(number) for number in default] if default is not None else None)
        return [Settings({key: text}).integer(key, minimum=minimum) for text in texts]

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raises BadSettingError for a key that neither the executor nor the platform knows."""
        allowed = {*known, *RESERVED_KEYS}
        for key in self._values:
            if key not in allowed:
                near = difflib.get_close_matches(str(key), sorted(known), n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known settings: {', '.join(sorted(known))}"
                raise BadSettingError(str(key), f"is not a setting of this executor; {hint}")

    def _present(self, key: str, default: object) -> object:
        value = self._values.get(key)
        if value is not None:
            return value
        if default is None:
            raise BadSettingError(key, "is missing")
        return default


def _check_range(key: str, number: float, *, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and number < minimum:
        raise BadSettingError(key, f"must be at least {minimum}, not {number:g}")
    if maximum is not None and number > maximum:
        raise BadSettingError(key, f"must be at most {maximum}, not {number:g}")
