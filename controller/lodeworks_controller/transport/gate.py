"""Who is calling: people by their bearer token, agents by their certificate."""

from typing import Any, Final, TypeVar

import grpc.aio

from lodeworks_controller.domain.identity import AgentIdentity, AgentKind, Principal
from lodeworks_controller.errors import PermissionDeniedError, UnauthenticatedError
from lodeworks_controller.log_lines import CAUSE
from lodeworks_controller.service.enrolment import Revocations
from lodeworks_controller.service.identity import IdentityService

Context = grpc.aio.ServicerContext[Any, Any]

Who = TypeVar("Who", Principal, AgentIdentity)

_BEARER: Final = "Bearer "


class Gate:
    """Reads the caller of an rpc.

    Args:
        identity: Knows people's tokens.
        revocations: Knows whose certificates no longer count.
    """

    def __init__(self, identity: IdentityService, *, revocations: Revocations) -> None:
        self._identity = identity
        self._revocations = revocations

    async def caller(self, context: Context) -> Principal:
        """Returns the person whose token came with the call, or raises UnauthenticatedError TOKEN_INVALID."""
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
                return _noted(await self._identity.authenticate(value.removeprefix(_BEARER)))
        raise UnauthenticatedError("TOKEN_INVALID", "the call carries no bearer token; log in with `lode login`")

    def agent(self, context: Context) -> AgentIdentity:
        """Returns the agent whose certificate the connection was made with.

        Raises UnauthenticatedError CERTIFICATE_NEEDED, PermissionDeniedError CERTIFICATE_REVOKED.
        """
        for uri in context.auth_context().get("peer_uri", ()):
            identity = AgentIdentity.from_uri(uri.decode("ascii", errors="replace"))
            if identity is not None:
                self._revocations.require_good(identity)
                return _noted(identity)
        raise UnauthenticatedError("CERTIFICATE_NEEDED", "the connection shows no certificate of an agent; enrol first")

    def worker(self, context: Context) -> AgentIdentity:
        """Returns the calling worker; raises as `agent`, and PermissionDeniedError WRONG_AGENT for a device."""
        return self._of_kind(context, AgentKind.WORKER)

    def device(self, context: Context) -> AgentIdentity:
        """Returns the calling device; raises as `agent`, and PermissionDeniedError WRONG_AGENT for a worker."""
        return self._of_kind(context, AgentKind.DEVICE)

    def _of_kind(self, context: Context, kind: AgentKind) -> AgentIdentity:
        identity = self.agent(context)
        if identity.kind is not kind:
            raise PermissionDeniedError(
                "WRONG_AGENT", f"this call is for a {kind.value}, and the certificate is a {identity.kind.value}'s"
            )
        return identity


def _noted(who: Who) -> Who:
    """Lets the log say for whom it was written."""
    cause = CAUSE.get()
    if cause is not None:
        cause.principal = who.actor
    return who
