"""Where an installation is: its database, its shared folder, and whether this controller belongs to it."""

import json
from pathlib import Path

from lodeworks_controller.config import PLACE, Config
from lodeworks_controller.errors import ConflictError, InvalidError, NotFoundError
from lodeworks_controller.service.store import Store
from lodeworks_controller.storage.blobs.object_address import check_object_address
from lodeworks_controller.storage.database.postgres_address import driver_arguments, without_secret

MARK = "installation.id"
BACKUP_LOCK = "backup.lock"
"""While this file of the state folder is locked, content stays as it is."""


def check_place(config: Config) -> None:
    """Refuses a place that cannot work: a wrong address, or several controllers that would not share their content."""
    if config.blobs_url:
        check_object_address(config.blobs_url)
    if not config.database_url:
        return
    driver_arguments(config.database_url)
    if not config.shared:
        raise InvalidError(
            "STORE_UNSHARED",
            "controllers on PostgreSQL need their content in common: say --shared FOLDER, a folder that each of them "
            "sees, also while there is only one",
            field="shared",
        )


def remember_place(config: Config) -> None:
    """Keeps where the database and the shared folder are, so that they need not be said at each start."""
    if not config.database_url and not config.shared and not config.blobs_url:
        return
    # The address may hold a password.
    kept = {"database_url": config.database_url, "shared": config.shared, "blobs_url": config.blobs_url}
    text = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in kept.items() if value)
    temporary = config.state / f"{PLACE}.new"
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(config.state / PLACE)


def require_installation(config: Config) -> None:
    """Refuses a state folder that `lode-controller init` has not made."""
    there = config.trust if config.database_url else config.database
    if not there.exists():
        raise NotFoundError(
            "NO_INSTALLATION",
            f"there is no installation at {config.shared_folder}; make one with "
            f"`lode-controller init --state {config.state}`",
        )


def shown(config: Config) -> str:
    """Returns where the database is, as it may be shown."""
    return without_secret(config.database_url) if config.database_url else str(config.database)


async def belong(config: Config, store: Store, *, ca_fingerprint: str, new_mark: str) -> None:
    """Refuses a controller whose authority or content is not that of the database's other controllers.

    The first controller notes both in the database; the mark is a file among the content, so that two folders of the
    same name on two machines do not pass for a shared one.
    """
    mark = _mark(config.blobs, new_mark)
    async with store.transaction() as tx:
        authority = await tx.installation.settle("ca_fingerprint", ca_fingerprint)
        content = await tx.installation.settle("content_mark", mark)
    if authority != ca_fingerprint:
        raise ConflictError(
            "TRUST_UNSHARED",
            f"the authority in {config.trust} is not that of the installation in this database; let --shared name "
            "the folder that its other controllers use",
        )
    if content != mark:
        raise ConflictError(
            "STORE_UNSHARED",
            f"the content in {config.blobs} is not that of the installation in this database; let --shared name the "
            "folder that its other controllers use, on the same disk",
        )


def _mark(blobs: Path, new: str) -> str:
    blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with (blobs / MARK).open("x") as file:
            file.write(new)
    except FileExistsError:
        pass
    return (blobs / MARK).read_text()
