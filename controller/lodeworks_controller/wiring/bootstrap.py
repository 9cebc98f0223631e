"""The first administrator and the first project of an installation."""

from contextlib import suppress

from lodeworks_controller.config import Config
from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.errors import ExistsError
from lodeworks_controller.service.identity import IdentityService
from lodeworks_controller.service.project_service import ProjectService
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.trust.installation import load_trust
from lodeworks_controller.wiring.place import belong


async def bootstrap(config: Config, *, administrator: str, project: str, clock: Clock) -> str:
    """Makes both where they are missing, and returns the administrator's token. Harmless to repeat."""
    ids = ulids(clock)
    trust = load_trust(config.trust, clock=clock)
    store = await SqlStore.open(config.database_address, clock=clock, ids=ids)
    try:
        await belong(config, store, ca_fingerprint=trust.authority.fingerprint, new_mark=ids())
        user, token = await IdentityService(store, ids=ids, secrets=trust.bearer_secrets).bootstrap(administrator)
        if project:
            principal = Principal(user.id, user.name, user.role)
            with suppress(ExistsError):  # made by hand before
                await ProjectService(store, ids=ids).create(principal, project, request_id="bootstrap")
        return token
    finally:
        await store.close()
