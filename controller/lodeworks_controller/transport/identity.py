"""People and their tokens."""

from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
from lodeworks.api.identity.v1 import identity_pb2, identity_pb2_grpc

from lodeworks_controller.domain.identity import InstallationRole, Token, User
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.identity import IdentityService
from lodeworks_controller.transport.gate import Gate
from lodeworks_controller.transport.wire import page_size, to_time

Context = grpc.aio.ServicerContext[Any, Any]

_TO_WIRE: Final = {
    InstallationRole.USER: identity_pb2.INSTALLATION_ROLE_USER,
    InstallationRole.ADMINISTRATOR: identity_pb2.INSTALLATION_ROLE_ADMINISTRATOR,
}
_FROM_WIRE: Final = {wire: role for role, wire in _TO_WIRE.items()}


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server tells about itself."""

    version: str
    ca_fingerprint: str
    agents_address: str
    installation_id: str
    addresses: tuple[str, ...] = ()


class IdentityServicer(identity_pb2_grpc.IdentityServiceServicer):
    """Serves ``lodeworks.api.identity.v1.IdentityService``."""

    def __init__(self, identity: IdentityService, *, gate: Gate, facts: ServerFacts) -> None:
        self._identity = identity
        self._gate = gate
        self._facts = facts

    async def WhoAmI(self, request: identity_pb2.WhoAmIRequest, context: Context) -> identity_pb2.WhoAmIResponse:
        """Tells who the caller is and what server answers."""
        user = await self._identity.who_am_i(await self._gate.caller(context))
        server = identity_pb2.ServerInfo(
            version=self._facts.version,
            ca_fingerprint=self._facts.ca_fingerprint,
            agents_address=self._facts.agents_address,
            addresses=self._facts.addresses,
            installation_id=self._facts.installation_id,
        )
        return identity_pb2.WhoAmIResponse(user=_user(user), server=server)

    async def CreateUser(
        self, request: identity_pb2.CreateUserRequest, context: Context
    ) -> identity_pb2.CreateUserResponse:
        """Adds a user and gives the first token."""
        caller = await self._gate.caller(context)
        user, secret = await self._identity.create_user(
            caller, request.name, role=_role(request.role), request_id=request.request_id
        )
        return identity_pb2.CreateUserResponse(user=_user(user), token=secret)

    async def ListUsers(
        self, request: identity_pb2.ListUsersRequest, context: Context
    ) -> identity_pb2.ListUsersResponse:
        """Lists the users."""
        caller = await self._gate.caller(context)
        limit = page_size(request.page_size)
        users = await self._identity.list_users(caller, after_name=request.page_token, limit=limit + 1)
        more = users[limit - 1].name if len(users) > limit else ""
        return identity_pb2.ListUsersResponse(users=map(_user, users[:limit]), next_page_token=more)

    async def SetUserRole(
        self, request: identity_pb2.SetUserRoleRequest, context: Context
    ) -> identity_pb2.SetUserRoleResponse:
        """Changes what a user may do outside projects."""
        caller = await self._gate.caller(context)
        user = await self._identity.set_role(caller, request.user, role=_role(request.role))
        return identity_pb2.SetUserRoleResponse(user=_user(user))

    async def DisableUser(
        self, request: identity_pb2.DisableUserRequest, context: Context
    ) -> identity_pb2.DisableUserResponse:
        """Takes away a user's access."""
        caller = await self._gate.caller(context)
        return identity_pb2.DisableUserResponse(user=_user(await self._identity.disable(caller, request.user)))

    async def CreateToken(
        self, request: identity_pb2.CreateTokenRequest, context: Context
    ) -> identity_pb2.CreateTokenResponse:
        """Makes a token for the caller."""
        caller = await self._gate.caller(context)
        lifetime = request.lifetime.ToTimedelta() if request.HasField("lifetime") else None
        token, secret = await self._identity.create_token(
            caller, request.name, lifetime=lifetime, request_id=request.request_id
        )
        return identity_pb2.CreateTokenResponse(token=_token(token), secret=secret)

    async def ListTokens(
        self, request: identity_pb2.ListTokensRequest, context: Context
    ) -> identity_pb2.ListTokensResponse:
        """Lists the caller's tokens."""
        caller = await self._gate.caller(context)
        limit = page_size(request.page_size)
        tokens = await self._identity.list_tokens(caller, before_id=request.page_token, limit=limit + 1)
        more = tokens[limit - 1].id if len(tokens) > limit else ""
        return identity_pb2.ListTokensResponse(tokens=map(_token, tokens[:limit]), next_page_token=more)

    async def RevokeToken(
        self, request: identity_pb2.RevokeTokenRequest, context: Context
    ) -> identity_pb2.RevokeTokenResponse:
        """Ends a token."""
        await self._identity.revoke_token(await self._gate.caller(context), request.token_id)
        return identity_pb2.RevokeTokenResponse()


def _role(wire: identity_pb2.InstallationRole.ValueType) -> InstallationRole:
    role = _FROM_WIRE.get(wire)
    if role is None:
        raise InvalidError("ROLE_INVALID", "choose the role user or administrator", field="role")
    return role


def _user(user: User) -> identity_pb2.User:
    return identity_pb2.User(
        id=user.id,
        name=user.name,
        role=_TO_WIRE[user.role],
        disabled=user.disabled_at is not None,
        create_time=to_time(user.created_at),
    )


def _token(token: Token) -> identity_pb2.Token:
    return identity_pb2.Token(
        id=token.id,
        name=token.name,
        create_time=to_time(token.created_at),
        expire_time=to_time(token.expires_at),
        last_use_time=to_time(token.last_used_at),
    )
