"""Secrets of tokens: computed from their ids with a key of the installation, stored nowhere.

So a repeated request answers the same secret, and neither a stolen database (hashes only) nor a stolen backup of it
yields one. A secret has 256 bits and a prefix by which scanners for leaked secrets can know it.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lodeworks_controller.domain.ids import Randomness
from lodeworks_controller.trust.key_file import write_private

WEBHOOK_PREFIX: Final = "whsec_"
BEARER_PREFIX: Final = "lode_"
ENROLMENT_PREFIX: Final = "lodejoin_"

_KEY_BYTES: Final = 32


def token_key(folder: Path, *, randomness: Randomness) -> bytes:
    """Returns the key that secrets are computed with; makes it once. Blocks."""
    path = folder / "tokens.key"
    if not path.exists():
        write_private(path, randomness(_KEY_BYTES))
    return path.read_bytes()


def secrets_of(key: bytes, *, prefix: str) -> Callable[[str], str]:
    """Returns the function from a token's id to its secret."""

    def secret(token_id: str) -> str:
        digest = hmac.digest(key, (prefix + token_id).encode(), hashlib.sha256)
        return prefix + base64.b32encode(digest).decode().rstrip("=").lower()

    return secret


def webhook_secrets_of(key: bytes) -> Callable[[str], str]:
    """Returns the function from a webhook's id to its secret, in the form of standardwebhooks.com."""

    def secret(webhook_id: str) -> str:
        digest = hmac.digest(key, (WEBHOOK_PREFIX + webhook_id).encode(), hashlib.sha256)
        return WEBHOOK_PREFIX + base64.b64encode(digest).decode()

    return secret
