"""A program that commits, deletes, releases and collects dataset versions until somebody kills it, and a check after.

Run by `python dataset_committer.py`, it has everything loaded and waits: each line `ROOT [broken]` on its input starts
a child that works in that folder. The child says `working PID` once it does, the program `ended STATUS` once the child
is gone. Opened by import for the check.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import random
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_world import CurationWorld
from dataset_world import box, picture
from lodeworks_controller.domain.curation import TagChange
from lodeworks_controller.domain.dataset import VersionState
from lodeworks_controller.domain.identity import Principal
from lodeworks_controller.domain.manifest import digests_of
from lodeworks_controller.domain.operation import Filter, Sample
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.errors import LodeworksError, NotFoundError
from lodeworks_controller.service.collection import Collection, CollectionTerms
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.dataset_release import DatasetRelease
from lodeworks_controller.service.sparing import SparingBlobs
from lodeworks_controller.service.task_rows import TaskFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lodeworks_controller.storage.blobs.disk import DiskBlobStore

NOW = timedelta(0)
TERMS = CollectionTerms(grace=NOW, task_kept=NOW, unfinished_kept=NOW, sweep=timedelta(seconds=1))


class InlinePool:
    """Runs jobs in the program itself, so that one kill ends both sides at one instant."""

    async def run(self, work: Any, job: Any) -> Any:
        """Returns what the work answers."""
        return await asyncio.to_thread(getattr(importlib.import_module(work.module), work.function), job)


class LateBlobs:
    """A store that answers before it has stored: the commit order that must not be."""

    def __init__(self, blobs: Any) -> None:
        self._blobs = blobs
        self._late: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        """Hands everything else on."""
        return getattr(self._blobs, name)

    async def put_many(self, contents: Sequence[bytes], *, digests: Sequence[str] | None = None) -> Any:
        """Stores a while after its answer."""
        answer = [
            type("Blob", (), {"digest": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}) for data in contents
        ]

        async def store() -> None:
            await asyncio.sleep(0.05)
            await self._blobs.put_many(contents, digests=digests)

        task = asyncio.create_task(store())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return answer


class CommitterWorld(CurationWorld):
    """Datasets whose clock goes and whose blobs are collected at once."""

    async def open(self) -> CommitterWorld:
        """Opens what a crash left."""
        await super().open()
        self.release = DatasetRelease(self.store, self.blobs, self.curated, grace=NOW)
        self.collection = Collection(self.store, self.kept, terms=TERMS)
        return self

    def spared(self, kept: DiskBlobStore) -> SparingBlobs:
        """Puts between what keeps the collector off what is stored again."""
        self.kept = kept
        return SparingBlobs(kept, self.store)

    def clock(self) -> datetime:
        """Returns the time of day."""
        return datetime.now(UTC)

    async def person(self, name: str, **more: Any) -> Principal:
        """Makes an account, or finds the one that an earlier run made."""
        try:
            async with self.store.snapshot() as tx:
                known = await tx.users.find(name)
        except NotFoundError:
            return await super().person(name, **more)
        return Principal(known.id, known.name, known.role)


async def opened(root: Path) -> CommitterWorld:
    """Opens the world of a folder, made or found."""
    world = await CommitterWorld(root, InlinePool()).open()  # type: ignore[arg-type]
    try:
        await world.projects.get(world.administrator, "cells")
    except NotFoundError:
        await world.project()
    return world


class Committer:
    """Makes versions, drops them and collects what they leave, in an order by chance."""

    def __init__(self, world: CommitterWorld) -> None:
        self._world = world
        self._ada = world.administrator
        self._chance = random.Random()

    async def go_on(self) -> None:
        """Works for ever; refusals are part of it."""
        steps = (self.bring, self.derive, self.drop, self.collect)
        while True:
            try:
                await self._chance.choices(steps, weights=(6, 8, 2, 3))[0]()
            except LodeworksError:
                continue

    async def bring(self) -> None:
        """Imports a few pictures, some of which are known."""
        numbers = self._chance.sample(range(40), 6)
        came = [picture(number, box(self._chance.choice(["RBC", "WBC"]))) for number in numbers]
        task = await self._world.start_import("cells", f"set{self._chance.randrange(3)}")
        await self._world.finish(task, await self._world.upload(task, came))

    async def derive(self) -> None:
        """Makes a version from another."""
        world, ada = self._world, self._ada
        names = [one.dataset.name for one in await world.datasets.list(ada, "cells") if one.latest]
        if not names:
            return
        name = self._chance.choice(names)
        kind = self._chance.randrange(3)
        if kind == 0:
            await world.curation.tag(ada, "cells", name, change=TagChange(add=("seen",), boxes=True))
        elif kind == 1:
            await world.operations.filter(ada, "cells", name, which=Filter(classes=("RBC",)))
        else:
            seed = self._chance.randrange(1000)
            await world.operations.sample(ada, "cells", name, sample=Sample(share=0.7), seed=seed)

    async def drop(self) -> None:
        """Deletes a dataset."""
        names = [one.dataset.name for one in await self._world.datasets.list(self._ada, "cells")]
        if names:
            await self._world.datasets.delete(self._ada, "cells", self._chance.choice(names))

    async def collect(self) -> None:
        """Lets go of what was deleted, and sweeps it."""
        await self._world.release.run()
        await self._world.collection.run()


async def give_up(world: CommitterWorld) -> None:
    """Ends the tasks of a program that was killed: nobody reports on them, and they would keep their datasets."""
    running = frozenset(state for state in TaskState if not state.final)
    async with world.store.snapshot() as tx:
        left = await tx.tasks.list(TaskFilter(states=running, limit=1_000))
    for task in left:
        await world.task_service.cancel(world.administrator, task.id)


async def work(root: Path, *, broken: bool) -> None:
    """Commits and collects for ever."""
    world = await opened(root)
    await give_up(world)
    committer = Committer(world)
    print(f"working {os.getpid()}", flush=True)
    if not broken:
        await committer.go_on()
    await committer.bring()
    for engine in (world.segments, world.curated):
        shop: Any = engine._shop
        shop.blobs = LateBlobs(shop.blobs)
    while True:
        with suppress(LodeworksError):  # it meets what is not there yet
            await committer.derive()


async def check(root: Path) -> tuple[int, list[str]]:
    """Returns how many versions are whole, and what is wrong with the others."""
    world = await opened(root)
    wrong: list[str] = []
    whole = 0
    try:
        found = await world.projects.get(world.administrator, "cells")
        scope = project_scope(found.project.id)
        async with world.store.snapshot() as tx:
            living = await tx.datasets.living(found.project.id)
        sound: set[str] = set()
        for version in living:
            if version.state is not VersionState.READY:
                if version.content is not None:
                    wrong.append(f"{version.full_name} is {version.state.value} and has content")
                continue
            problem = await _problem(world, version, scope, sound)
            wrong += [f"{version.full_name}: {problem}"] if problem else []
            whole += not problem
    finally:
        await world.close()
    return whole, wrong


async def _problem(world: CommitterWorld, version: Any, scope: str, sound: set[str]) -> str:
    """Returns what is wrong with a version; objects that are in the set were read, and their bytes are right."""
    content = version.require_content()
    if await world.kept.find_missing([content.manifest_digest]):
        return "its manifest is missing"
    manifest = await world.curation.manifest(version)
    needed = [content.manifest_digest, *digests_of(manifest)]

    async def note(digests: Sequence[str]) -> None:
        needed.extend(digests)

    if not await world.kept.find_missing(needed):
        await world.segments.digests(manifest, each=note)
    missing = await world.kept.find_missing(needed)
    async with world.store.snapshot() as tx:
        nobodys = set(needed) - await tx.blobs.referenced(scope, needed)
    unread = set(needed) - missing - sound
    damaged = [one for one in sorted(unread) if _digest(await world.kept.read(one)) != one]
    sound |= unread - set(damaged)
    if missing or nobodys or damaged:
        return f"{len(missing)} objects are missing, {len(nobodys)} belong to nobody, {len(damaged)} are damaged"
    shown = await world.datasets.page(world.administrator, "cells", version.full_name, limit=1_000)
    found = len(shown.pictures), sum(len(entry.boxes or ()) for _, entry in shown.pictures)
    told = content.statistics.pictures, content.statistics.boxes
    return "" if found == told else f"it shows {found} pictures and boxes, and should show {told}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def orphans(root: Path) -> int:
    """Collects twice, and returns how many blobs are stored that nobody refers to."""
    world = await opened(root)
    try:
        await give_up(world)
        for _ in range(3):
            await world.release.run()
            await asyncio.sleep(0)
            await world.collection.run()
        async with world.store.snapshot() as tx:
            _, unused = await tx.collection.stored()
        return unused.blobs
    finally:
        await world.close()


def main() -> None:
    """Starts a child for each line, one at a time: what takes seconds to load is loaded once."""
    for module in ("arrival", "inspection", "membership", "tagging", "difference", "view"):
        importlib.import_module(f"lodeworks_controller.storage.segments.{module}")
    for line in sys.stdin:
        root, _, how = line.strip().partition(" ")
        Path(root).mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(work(Path(root), broken=how == "broken"))
            finally:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
