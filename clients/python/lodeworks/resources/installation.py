"""What belongs to no project: the caller, users, tokens, workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from lodeworks.api.identity.v1 import identity_pb2 as identity
from lodeworks.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from lodeworks.api.worker.v1 import worker_pb2 as workers
from lodeworks.api.worker.v1.worker_pb2_grpc import WorkerServiceStub
from lodeworks.connection import AsyncConnection, new_request_id
from lodeworks.resources.paging import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class AsyncUsers:
    """The people of an installation.

    Args:
        connection: Where they live.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def whoami(self) -> identity.WhoAmIResponse:
        """Tells who the caller is and what server answers."""
        response: identity.WhoAmIResponse = await self._connection.call(
            IdentityServiceStub, "WhoAmI", identity.WhoAmIRequest()
        )
        return response

    async def add(self, name: str, *, role: str = "user") -> identity.CreateUserResponse:
        """Adds a user (role user or administrator); the response carries the first token."""
        request = identity.CreateUserRequest(
            name=name,
            role=identity.InstallationRole.Value(f"INSTALLATION_ROLE_{role.upper()}"),
            request_id=new_request_id(),
        )
        response: identity.CreateUserResponse = await self._connection.call(IdentityServiceStub, "CreateUser", request)
        return response

    async def list(self) -> AsyncIterator[identity.User]:
        """Yields the users, sorted by name."""
        request = identity.ListUsersRequest()
        async for user in pages(self._connection, IdentityServiceStub, "ListUsers", request, items="users"):
            yield user

    async def set(self, user: str, *, role: str) -> identity.User:
        """Changes what a user may do outside projects."""
        request = identity.SetUserRoleRequest(
            user=user,
            role=identity.InstallationRole.Value(f"INSTALLATION_ROLE_{role.upper()}"),
            request_id=new_request_id(),
        )
        response: identity.SetUserRoleResponse = await self._connection.call(
            IdentityServiceStub, "SetUserRole", request
        )
        return response.user

    async def disable(self, user: str) -> identity.User:
        """Takes away a user's access; what the user made stays."""
        request = identity.DisableUserRequest(user=user, request_id=new_request_id())
        response: identity.DisableUserResponse = await self._connection.call(
            IdentityServiceStub, "DisableUser", request
        )
        return response.user


class AsyncTokens:
    """The caller's tokens.

    Args:
        connection: Where they live.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(self, name: str, *, lifetime_s: int = 0) -> identity.CreateTokenResponse:
        """Makes a token; the response carries its secret. A lifetime of 0 means until revoked."""
        request = identity.CreateTokenRequest(name=name, request_id=new_request_id())
        if lifetime_s:
            request.lifetime.CopyFrom(Duration(seconds=lifetime_s))
        response: identity.CreateTokenResponse = await self._connection.call(
            IdentityServiceStub, "CreateToken", request
        )
        return response

    async def list(self) -> AsyncIterator[identity.Token]:
        """Yields the tokens, newest first."""
        request = identity.ListTokensRequest()
        async for token in pages(self._connection, IdentityServiceStub, "ListTokens", request, items="tokens"):
            yield token

    async def revoke(self, token_id: str) -> None:
        """Ends a token."""
        request = identity.RevokeTokenRequest(token_id=token_id, request_id=new_request_id())
        await self._connection.call(IdentityServiceStub, "RevokeToken", request)


class AsyncWorkers:
    """The workers of an installation.

    Args:
        connection: Where they live.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, name: str, *, labels: Mapping[str, str] | None = None) -> workers.AddWorkerResponse:
        """Announces a worker; the response carries its one-time token. Raises ExistsError."""
        request = workers.AddWorkerRequest(name=name, labels=dict(labels or {}), request_id=new_request_id())
        response: workers.AddWorkerResponse = await self._connection.call(WorkerServiceStub, "AddWorker", request)
        return response

    async def get(self, name: str) -> workers.Worker:
        """Returns a worker by name or id. Raises NotFoundError."""
        response: workers.GetWorkerResponse = await self._connection.call(
            WorkerServiceStub, "GetWorker", workers.GetWorkerRequest(worker=name)
        )
        return response.worker

    async def list(self) -> AsyncIterator[workers.Worker]:
        """Yields the workers, sorted by name."""
        request = workers.ListWorkersRequest()
        async for worker in pages(self._connection, WorkerServiceStub, "ListWorkers", request, items="workers"):
            yield worker

    async def drain(self, name: str) -> workers.Worker:
        """Lets a worker finish what it runs and gives it nothing new."""
        request = workers.DrainWorkerRequest(worker=name, request_id=new_request_id())
        response: workers.DrainWorkerResponse = await self._connection.call(WorkerServiceStub, "DrainWorker", request)
        return response.worker

    async def undrain(self, name: str) -> workers.Worker:
        """Gives a worker tasks again."""
        request = workers.UndrainWorkerRequest(worker=name, request_id=new_request_id())
        response: workers.UndrainWorkerResponse = await self._connection.call(
            WorkerServiceStub, "UndrainWorker", request
        )
        return response.worker

    async def delete(self, name: str) -> None:
        """Removes a worker and revokes its certificate."""
        request = workers.DeleteWorkerRequest(worker=name, request_id=new_request_id())
        await self._connection.call(WorkerServiceStub, "DeleteWorker", request)
