"""Everything that an installation vouches with, made once by ``lode-controller init`` and loaded at each start."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.trust.authority import CertificateAuthority
from lodeworks_controller.trust.desired_state import DesiredStateSigner
from lodeworks_controller.trust.repository import ReleaseRepository
from lodeworks_controller.trust.secrets import (
    BEARER_PREFIX,
    ENROLMENT_PREFIX,
    secrets_of,
    token_key,
    webhook_secrets_of,
)
from lodeworks_controller.trust.server_certificate import server_certificate
from lodeworks_controller.trust.signing_keys import DESIRED_STATE, SigningKeys


@dataclass(frozen=True, slots=True)
class Trust:
    """The authority, the repository, the signer and the secrets of one installation.

    Attributes:
        authority: Signs certificates.
        repository: Signs and serves releases.
        desired_state: Signs what devices shall run.
        bearer_secrets: Secrets of people's tokens by token id.
        enrolment_secrets: Secrets of one-time tokens by token id.
        webhook_secrets: Secrets of webhooks by their id.
        folder: Where all of it lies.
        clock: The present moment.
    """

    authority: CertificateAuthority
    repository: ReleaseRepository
    desired_state: DesiredStateSigner
    bearer_secrets: Callable[[str], str]
    enrolment_secrets: Callable[[str], str]
    webhook_secrets: Callable[[str], str]
    folder: Path
    clock: Clock

    def listener_certificate(self, names: Sequence[str], *, kept: Path | None = None) -> tuple[bytes, bytes]:
        """Returns chain and key (PEM) for both listeners, reachable under these names. Blocks.

        Args:
            names: Host names and addresses.
            kept: Where this controller keeps its own, when the folder of the trust is not its own alone.
        """
        return server_certificate(kept or self.folder / "ca", authority=self.authority, names=names, clock=self.clock)


def create_trust(folder: Path, *, clock: Clock) -> Trust:
    """Makes what is missing in ``<state>/trust`` and loads the rest. Safe to repeat, also after a crash. Blocks."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    CertificateAuthority.create(folder / "ca", clock=clock)
    keys = SigningKeys(folder / "keys")
    ReleaseRepository(folder / "repository", keys=keys, clock=clock).create()
    token_key(folder / "keys", randomness=secrets.token_bytes)
    return load_trust(folder, clock=clock)


def load_trust(folder: Path, *, clock: Clock) -> Trust:
    """Loads ``<state>/trust``. Raises FileNotFoundError where ``create_trust`` was not. Blocks."""
    keys = SigningKeys(folder / "keys")
    key = (folder / "keys" / "tokens.key").read_bytes()
    return Trust(
        authority=CertificateAuthority.load(folder / "ca", clock=clock),
        repository=ReleaseRepository(folder / "repository", keys=keys, clock=clock),
        desired_state=DesiredStateSigner(keys.load(DESIRED_STATE)),
        bearer_secrets=secrets_of(key, prefix=BEARER_PREFIX),
        enrolment_secrets=secrets_of(key, prefix=ENROLMENT_PREFIX),
        webhook_secrets=webhook_secrets_of(key),
        folder=folder,
        clock=clock,
    )
