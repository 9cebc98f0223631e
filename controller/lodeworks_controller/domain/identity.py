"""Who may call: people with roles, agents with certificates."""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from lodeworks_controller.errors import InvalidError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_AGENT_URI = re.compile(r"lodeworks:(worker|device)/([0-9a-z]{26})")


class InstallationRole(Enum):
    """What a person is in the whole installation."""

    ADMINISTRATOR = "administrator"
    USER = "user"


class ProjectRole(Enum):
    """What a person is in one project; each may do what those before it may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"

    def covers(self, needed: "ProjectRole") -> bool:
        """Says whether this role may do what the needed one may."""
        order = list(ProjectRole)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Principal:
    """A person, or a program of theirs, that proved who it is."""

    user_id: str
    name: str
    role: InstallationRole

    @property
    def is_administrator(self) -> bool:
        """Says whether the person administers the installation."""
        return self.role is InstallationRole.ADMINISTRATOR

    @property
    def actor(self) -> str:
        """Returns the name under which the audit log knows the person."""
        return f"user:{self.user_id}"


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account."""

    id: str
    name: str
    role: InstallationRole
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token of a person; of its secret only the hash is kept."""

    id: str
    user_id: str
    name: str
    secret_hash: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_valid(self, *, at: datetime) -> bool:
        """Says whether the token proves anything at the moment."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class AgentKind(Enum):
    """The daemons that dial with a certificate."""

    WORKER = "worker"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Which worker or device a certificate speaks for."""

    kind: AgentKind
    id: str

    @property
    def uri(self) -> str:
        """Returns the URI that stands in the certificate: ``lodeworks:worker/<id>``."""
        return f"lodeworks:{self.kind.value}/{self.id}"

    @property
    def actor(self) -> str:
        """Returns the name under which the audit log knows the agent."""
        return f"{self.kind.value}:{self.id}"

    @staticmethod
    def from_uri(uri: str) -> "AgentIdentity | None":
        """Reads the URI of a certificate; None if it is not one of ours."""
        match = _AGENT_URI.fullmatch(uri)
        return None if match is None else AgentIdentity(AgentKind(match[1]), match[2])


@dataclass(frozen=True, slots=True)
class Agent:
    """A worker or device as the authority knows it; announced first, enrolled when it has a certificate.

    Attributes:
        identity: Who it is.
        name: As its administrator chose it.
        created_at: When it was announced.
        key_id: sha256 of the key of its newest certificate; empty before enrolment.
        previous_key_id: The key before; counts until the newest was used, as the reply that told it may be lost.
        certificate_serial: Of the newest certificate.
        certificate_expires_at: Of the newest certificate.
        revoked_at: When its certificates were ended.
    """

    identity: AgentIdentity
    name: str
    created_at: datetime
    key_id: str = ""
    previous_key_id: str = ""
    certificate_serial: str = ""
    certificate_expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def certified(self, *, key_id: str, serial: str, expires_at: datetime, shown_key_id: str = "") -> "Agent":
        """Returns the agent with a new certificate, asked for with the shown key."""
        previous = self.previous_key_id if key_id == self.key_id else shown_key_id or self.key_id
        return replace(
            self,
            key_id=key_id,
            previous_key_id=previous,
            certificate_serial=serial,
            certificate_expires_at=expires_at,
        )


@dataclass(frozen=True, slots=True)
class EnrolmentToken:
    """A one-time token: good for one key until it expires; of its secret only the hash is kept."""

    id: str
    identity: AgentIdentity
    secret_hash: str
    created_at: datetime
    expires_at: datetime
    used_key_id: str = ""

    def is_good_for(self, key_id: str, *, at: datetime) -> bool:
        """Says whether it enrols this key: unused, or used by the same key whose reply was lost."""
        return at < self.expires_at and self.used_key_id in {"", key_id}


def check_name(name: str, *, field: str = "name") -> str:
    """Returns the name if a user, token or agent may be called so, or refuses."""
    if _NAME.fullmatch(name) is None:
        raise InvalidError(
            "NAME_INVALID",
            f"{name!r} cannot be a name; use 1 to 64 of a-z, 0-9, dot, dash, underscore, starting and ending with "
            "a letter or digit",
            field=field,
        )
    return name


def hash_secret(secret: str) -> str:
    """Returns what is kept of a secret: its sha256 in hex. The secrets are random and long, so no salt is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()
