"""The Ed25519 keys of the repository's roles and of the desired state, one PEM file each."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from lodeworks_controller.trust.key_file import write_private

ROOT: Final = "root"
TARGETS: Final = "targets"
SNAPSHOT: Final = "snapshot"
TIMESTAMP: Final = "timestamp"
DESIRED_STATE: Final = "desired-state"


class SigningKeys:
    """The keys in a folder, ``<role>.pem``.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, role: str) -> CryptoSigner:
        """Makes the key of a role; one that is there is loaded instead."""
        if self.has(role):
            return self.load(role)
        signer = CryptoSigner.generate_ed25519()
        write_private(self._path(role), signer.private_bytes)
        return signer

    def load(self, role: str) -> CryptoSigner:
        """Loads the key of a role. Raises FileNotFoundError."""
        key = serialization.load_pem_private_key(self._path(role).read_bytes(), password=None)
        return CryptoSigner(key)

    def has(self, role: str) -> bool:
        """Says whether the key of a role lies here; later an offline root or release key does not."""
        return self._path(role).exists()

    def _path(self, role: str) -> Path:
        return self._folder / f"{role}.pem"
