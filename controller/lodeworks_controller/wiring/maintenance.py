"""What an operator does to a whole installation: back it up, bring it back, move it to a newer program."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from typing import Final

from lodeworks_controller.config import Config
from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.domain.task.retry import Backoff
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.service.attempt_end import AttemptEnd
from lodeworks_controller.service.wake import Wakes
from lodeworks_controller.storage.backup.database import copy_database
from lodeworks_controller.storage.backup.manifest import Manifest
from lodeworks_controller.storage.backup.restoring import bring_back, check_backup
from lodeworks_controller.storage.backup.taking import Source, take
from lodeworks_controller.storage.database.migration import (
    check_not_newer,
    current_revision,
    migrate,
    newest_revision,
)
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.trust.installation import load_trust
from lodeworks_controller.wiring.backup_content import content_held, copies_of, target_of
from lodeworks_controller.wiring.place import MARK, check_place, remember_place, require_installation
from lodeworks_controller.wiring.version import program_version

_LEAP: Final = 1_000
"""How far numbers that may only rise are put ahead after a restore: beyond what was given out since the backup."""

_BATCH: Final = 200


def back_up(config: Config, out: Path, *, clock: Clock, linked: bool = True) -> Manifest:
    """Takes a backup of an installation, whether it runs or not. Blocks.

    Args:
        config: Of the installation.
        out: Folder of the backup, not there yet.
        clock: Tells the time.
        linked: True makes blobs of a folder on the same filesystem other names of the same files.
    """
    check_place(config)
    require_installation(config)
    with content_held(config):
        return asyncio.run(_take(config, out.absolute(), clock=clock, linked=linked))


async def _take(config: Config, out: Path, *, clock: Clock, linked: bool) -> Manifest:
    async with copies_of(config, clock=clock, linked=linked) as copies:
        source = Source(
            database=config.database_address,
            revision=current_revision(config.database_address),
            trust=config.trust,
            logs=config.logs,
            mark=config.blobs / MARK,
            blobs=copies,
            program=program_version(),
        )
        return await take(source, out, at=clock())


def restore(config: Config, folder: Path, *, clock: Clock) -> Manifest:
    """Brings a backup back into an empty state folder and database. Blocks.

    What ran when the backup was taken runs anew, and numbers that may only rise leap ahead: a worker or device that
    saw the time after the backup must not take what comes now for something it knows.
    """
    check_place(config)
    for there in {config.state, config.shared_folder}:
        if there.exists() and any(there.iterdir()):
            raise ConflictError(
                "STATE_NOT_EMPTY", f"{there} is not empty, and a restore overwrites nothing; name another --state"
            )
    manifest = check_backup(folder, database=config.database_address, newest_revision=newest_revision())
    for needed in (config.state, config.shared_folder):
        needed.mkdir(parents=True, exist_ok=True, mode=0o700)
    asyncio.run(_bring(config, folder.absolute(), clock=clock))
    asyncio.run(_leap(config, clock=clock))
    remember_place(config)
    return manifest


async def _bring(config: Config, folder: Path, *, clock: Clock) -> None:
    async with target_of(config, clock=clock) as target:
        await bring_back(folder, target)
        await asyncio.to_thread(migrate, config.database_address)
        if target.settle is not None:
            await target.settle()


def upgrade(config: Config, *, clock: Clock, folder: Path | None = None) -> tuple[str, str, Path | None]:
    """Brings the database to this program's schema, after a copy of it. Blocks.

    Returns the schema before, the schema now, and where the copy is; None when there was nothing to do.
    """
    require_installation(config)
    check_not_newer(config.database_address)
    before, wanted = current_revision(config.database_address), newest_revision()
    if before == wanted:
        return before, wanted, None
    stamp = clock().strftime("%Y%m%dT%H%M%SZ")
    copy = (folder or config.state / "backups") / f"before-{wanted}-{stamp}"
    copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for _ in copy_database(config.database_address, copy):
        pass  # the digests: content is not touched by a migration
    return before, migrate(config.database_address), copy


async def _leap(config: Config, *, clock: Clock) -> None:
    store = await SqlStore.open(config.database_address, clock=clock, ids=ulids(clock))
    try:
        ends = AttemptEnd(wakes=Wakes(), backoff=Backoff(), chance=random.random)
        while True:
            async with store.transaction() as tx:
                never = tx.now() + timedelta(days=36_500)
                held = [*await tx.tasks.expired(now=never, limit=_BATCH), *await tx.tasks.suspects(limit=_BATCH)]
                for task in held:
                    await ends.lose(tx, task, why="the installation was restored from a backup")
            if not held:
                break
        async with store.transaction() as tx:
            await tx.tasks.leap(_LEAP)
            await tx.audit.add("installation.restore", "")
    finally:
        await store.close()
    await load_trust(config.trust, clock=clock).repository.leap(_LEAP)
