"""Class maps: what the raw names of boxes mean in a project."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.object_class import ClassMap, RawClass
from lodeworks_controller.domain.project import Project
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction


class ClassRows(Protocol):
    """Raw classes and class maps as one transaction sees them. No method commits."""

    async def get(self, project_id: str, *, revision: int | None = None) -> ClassMap:
        """Returns the class map at a revision, by default the newest; empty with revision 0 before the first."""
        ...

    async def add(self, class_map: ClassMap) -> None:
        """Stores a new revision."""
        ...

    async def intern(self, names: Iterable[str]) -> dict[str, int]:
        """Returns exact name → rid, giving numbers to names that are new."""
        ...

    async def raw(self, folded: Iterable[str]) -> Sequence[RawClass]:
        """Returns the raw classes whose names compare equal to one of these."""
        ...

    async def named(self, rids: Iterable[int]) -> Sequence[RawClass]:
        """Returns the raw classes with these numbers."""
        ...


@dataclass(frozen=True, slots=True)
class ClassTable:
    """A class map with the raw classes that mean something in it."""

    class_map: ClassMap
    raw: tuple[RawClass, ...]

    def names(self, *, chosen: Sequence[str] | None = None) -> dict[int, str]:
        """Returns rid → class name, of all classes or of the chosen ones."""
        wanted = None if chosen is None else frozenset(chosen)
        resolved = self.class_map.resolve(self.raw)
        return {rid: name for rid, name in resolved.items() if wanted is None or name in wanted}

    def rids(self, name: str) -> tuple[int, ...]:
        """Returns the raw classes that mean what the name means; raises NotFoundError CLASS_NOT_FOUND."""
        wanted = self.class_map.get(name).name
        return tuple(rid for rid, found in self.class_map.resolve(self.raw).items() if found == wanted)


async def class_table(tx: Transaction, project_id: str, *, revision: int | None = None) -> ClassTable:
    """Returns the class map of a project with its raw classes, at a revision or the newest."""
    class_map = await tx.classes.get(project_id, revision=revision)
    return ClassTable(class_map, tuple(await tx.classes.raw(class_map.folded())))


async def store_map(tx: Transaction, project: Project, before: ClassMap, after: ClassMap) -> None:
    """Stores the next revision of a project's class map, if it is one."""
    if after.revision != before.revision:
        await tx.classes.add(after)
        await tx.projects.put(replace(project, class_revision=after.revision))


class ClassService:
    """Changes class maps; each change is a new revision, and no box is rewritten."""

    def __init__(self, store: Store, *, ids: Ids) -> None:
        self._store = store
        self._ids = ids

    async def list(self, principal: Principal, project: str, *, revision: int | None = None) -> ClassMap:
        """Returns the class map of a project, at a revision or the newest."""
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.VIEWER)
            return await tx.classes.get(found.id, revision=revision)

    async def add(
        self,
        principal: Principal,
        project: str,
        classes: Sequence[tuple[str, Sequence[str]]],
        *,
        request_id: str = "",
    ) -> ClassMap:
        """Adds classes, each with its aliases, at the end of the map."""

        def change(before: ClassMap) -> ClassMap:
            after = before
            for name, aliases in classes:
                after = after.add([name], ids=self._ids, aliases=aliases)
            # Several classes are one change, hence one revision.
            return replace(after, revision=before.revision + 1) if after != before else before

        return await self._change(principal, project, "class.add", change, request_id=request_id)

    async def rename(
        self, principal: Principal, project: str, name: str, new_name: str, *, request_id: str = ""
    ) -> ClassMap:
        """Gives a class another name; the old one becomes an alias."""
        return await self._change(
            principal, project, "class.rename", lambda before: before.rename(name, new_name), request_id=request_id
        )

    async def set_aliases(
        self,
        principal: Principal,
        project: str,
        name: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        request_id: str = "",
    ) -> ClassMap:
        """Adds aliases to a class and takes others away."""
        return await self._change(
            principal,
            project,
            "class.alias",
            lambda before: before.alias(name, add=add, remove=remove),
            request_id=request_id,
        )

    async def merge(
        self, principal: Principal, project: str, names: Sequence[str], *, into: str, request_id: str = ""
    ) -> ClassMap:
        """Turns classes into aliases of another one."""
        return await self._change(
            principal, project, "class.merge", lambda before: before.merge(names, into=into), request_id=request_id
        )

    async def delete(self, principal: Principal, project: str, name: str, *, request_id: str = "") -> ClassMap:
        """Takes a class out of the map; its boxes are kept and ignored."""
        return await self._change(
            principal, project, "class.delete", lambda before: before.delete(name), request_id=request_id
        )

    async def _change(
        self,
        principal: Principal,
        project: str,
        action: str,
        change: Callable[[ClassMap], ClassMap],
        *,
        request_id: str,
    ) -> ClassMap:
        once = Once(principal.actor, action, request_id)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            before = await tx.classes.get(found.id)
            if await once.result(tx) is not None:
                return before
            after = change(before)
            await store_map(tx, found, before, after)
            detail = {"revision": after.revision, "classes": list(after.names)}
            await tx.audit.add(action, found.id, actor=principal.actor, project_id=found.id, detail=detail)
            await once.keep(tx, found.id)
            return after
