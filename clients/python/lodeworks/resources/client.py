"""The way in: a client and everything that can be reached from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from lodeworks.connection import AsyncConnection
from lodeworks.profile import Profile, Surroundings, choose
from lodeworks.resources.audit import AsyncAudit
from lodeworks.resources.executor import AsyncExecutors
from lodeworks.resources.installation import AsyncTokens, AsyncUsers, AsyncWorkers
from lodeworks.resources.message import AsyncMessages
from lodeworks.resources.project import AsyncProject, AsyncProjects
from lodeworks.resources.quota import AsyncQuotas
from lodeworks.resources.storage import AsyncStorage
from lodeworks.resources.task import AsyncTasks
from lodeworks.resources.webhook import AsyncWebhooks

if TYPE_CHECKING:
    from types import TracebackType


class AsyncClient:
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
        connection = AsyncConnection(self.profile)
        self._connection = connection
        self.projects = AsyncProjects(connection)
        self.tasks = AsyncTasks(connection)
        self.users = AsyncUsers(connection)
        self.tokens = AsyncTokens(connection)
        self.workers = AsyncWorkers(connection)
        self.storage = AsyncStorage(connection)
        self.executors = AsyncExecutors(connection, self.profile.project or "default")
        self.quotas = AsyncQuotas(connection)
        self.messages = AsyncMessages(connection)
        self.audit = AsyncAudit(connection)
        self.webhooks = AsyncWebhooks(connection)

    async def project(self) -> AsyncProject:
        """Returns the project that is meant when none is named: of the profile, else ``default``."""
        return await self.projects.get(self.profile.project or "default")

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Enters the with statement."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        await self.close()
