"""The way in: a client and everything that can be reached from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from lodeworks.blocking.audit import Audit
from lodeworks.blocking.executor import Executors
from lodeworks.blocking.installation import Tokens, Users, Workers
from lodeworks.blocking.message import Messages
from lodeworks.blocking.project import Project, Projects
from lodeworks.blocking.quota import Quotas
from lodeworks.blocking.storage import Storage
from lodeworks.blocking.task import Tasks
from lodeworks.blocking.webhook import Webhooks
from lodeworks.connection import Connection
from lodeworks.profile import Profile, Surroundings, choose

if TYPE_CHECKING:
    from types import TracebackType


class Client:
    """A client of one server, to be used in a with statement.

    Args:
        profile: Which server; None = LODE_SERVER and LODE_TOKEN, LODE_PROFILE, or the current profile.

    Attributes:
        projects: The projects.
        tasks: The tasks of all projects.
        users: The people.
        tokens: The caller's tokens.
        workers: The workers.
        storage: The store of content.
        executors: The executors.
        quotas: What projects and people may use.
        messages: The caller's messages.
        audit: The audit log of the installation.
        webhooks: The webhooks of the installation.
    """

    def __init__(self, profile: Profile | None = None) -> None:
        self.profile = profile or choose(Surroundings.read())
        connection = Connection(self.profile)
        self._connection = connection
        self.projects = Projects(connection)
        self.tasks = Tasks(connection)
        self.users = Users(connection)
        self.tokens = Tokens(connection)
        self.workers = Workers(connection)
        self.storage = Storage(connection)
        self.executors = Executors(connection, self.profile.project or "default")
        self.quotas = Quotas(connection)
        self.messages = Messages(connection)
        self.audit = Audit(connection)
        self.webhooks = Webhooks(connection)

    def project(self) -> Project:
        """Returns the project that is meant when none is named: of the profile, else ``default``."""
        return self.projects.get(self.profile.project or "default")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Enters the with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self.close()
