"""Ids: ULIDs in lower case, sortable by the moment they were made."""

import secrets
from collections.abc import Callable

from lodeworks_controller.domain.clock import Clock, to_micros

Ids = Callable[[], str]
"""Returns a new id: 26 characters of Crockford's base 32, lower case."""

Randomness = Callable[[int], bytes]
"""Returns so many random bytes."""

ID_LENGTH = 26
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80


def encode_ulid(milliseconds: int, random: int) -> str:
    """Returns the ULID of 48 bits of time and 80 bits of chance."""
    value = (milliseconds << _RANDOM_BITS) | random
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def ulids(clock: Clock, randomness: Randomness = secrets.token_bytes) -> Ids:
    """Returns a maker of ids that never go backwards within one process."""
    last_ms = 0
    last_random = 0

    def make() -> str:
        nonlocal last_ms, last_random
        now_ms = to_micros(clock()) // 1000
        if now_ms > last_ms:
            last_ms, last_random = now_ms, int.from_bytes(randomness(_RANDOM_BITS // 8), "big") >> 1
        else:
            last_random += 1
        return encode_ulid(last_ms, last_random)

    return make


def is_id(text: str) -> bool:
    """Says whether the text has the form of an id."""
    return len(text) == ID_LENGTH and all(character in _ALPHABET for character in text)
