"""What people do with projects: make, rename and archive them, and keep their members."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.object_class import ClassMap
from lodeworks_controller.domain.project import Member, ObjectType, Project, ProjectState, check_member_change
from lodeworks_controller.domain.reference import check_name
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.errors import ConflictError
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task_rows import TaskFilter


@dataclass(frozen=True, slots=True)
class ProjectSight:
    """A project as one caller sees it."""

    project: Project
    class_map: ClassMap
    role: ProjectRole


class ProjectService:
    """Makes projects and keeps their members."""

    def __init__(self, store: Store, *, ids: Ids) -> None:
        self._store = store
        self._ids = ids

    async def create(
        self,
        principal: Principal,
        name: str,
        *,
        class_names: Sequence[str] = (),
        object_type: ObjectType = ObjectType.DETECTION,
        description: str = "",
        request_id: str = "",
    ) -> ProjectSight:
        """Makes a project; the caller becomes its owner."""
        once = Once(principal.actor, "project.create", request_id)
        async with self._store.transaction() as tx:
            made = await once.result(tx)
            if made is not None:
                return await self._sight(tx, principal, await tx.projects.get(made))
            project = Project(
                id=self._ids(),
                name=check_name(name),
                object_type=object_type,
                state=ProjectState.ACTIVE,
                description=description.strip(),
                class_revision=0,
                created_by=principal.user_id,
                created_at=tx.now(),
            )
            class_map = ClassMap(project.id, 0)
            if class_names:
                class_map = class_map.add(class_names, ids=self._ids)
                project = replace(project, class_revision=class_map.revision)
            await tx.projects.add(project)
            if class_map.revision:
                await tx.classes.add(class_map)
            await tx.projects.put_member(Member(project.id, principal.user_id, ProjectRole.OWNER, principal.name))
            await tx.audit.add("project.create", project.id, actor=principal.actor, project_id=project.id)
            await once.keep(tx, project.id)
            return await self._sight(tx, principal, project)

    async def get(self, principal: Principal, project: str) -> ProjectSight:
        """Returns a project by name or id."""
        async with self._store.snapshot() as tx:
            return await self._sight(tx, principal, await enter(tx, principal, project, ProjectRole.VIEWER))

    async def list(self, principal: Principal, *, after_name: str = "", limit: int = 100) -> Sequence[ProjectSight]:
        """Returns the projects of the caller by name; administrators see all."""
        async with self._store.snapshot() as tx:
            user_id = None if principal.is_administrator else principal.user_id
            found = await tx.projects.list(user_id=user_id, after_name=after_name, limit=limit)
            return [await self._sight(tx, principal, project) for project in found]

    async def rename(self, principal: Principal, project: str, name: str, *, request_id: str = "") -> ProjectSight:
        """Gives a project another name."""
        once = Once(principal.actor, "project.rename", request_id)
        async with self._store.transaction() as tx:
            made = await once.result(tx)
            if made is not None:
                return await self._sight(tx, principal, await tx.projects.get(made))
            found = await enter(tx, principal, project, ProjectRole.OWNER)
            renamed = replace(found, name=check_name(name))
            await tx.projects.put(renamed)
            detail = {"from": found.name, "to": renamed.name}
            await tx.audit.add("project.rename", found.id, actor=principal.actor, project_id=found.id, detail=detail)
            await once.keep(tx, found.id)
            return await self._sight(tx, principal, renamed)

    async def delete(self, principal: Principal, project: str, *, request_id: str = "") -> None:
        """Archives a project at once; refused while its tasks run."""
        once = Once(principal.actor, "project.delete", request_id)
        async with self._store.transaction() as tx:
            if await once.result(tx) is not None:
                return
            found = await enter(tx, principal, project, ProjectRole.OWNER)
            await _refuse_in_use(tx, found)
            await tx.projects.put(found.archive(at=tx.now()))
            await tx.audit.add("project.delete", found.id, actor=principal.actor, project_id=found.id)
            await once.keep(tx, found.id)

    async def add_member(
        self, principal: Principal, project: str, user: str, *, role: ProjectRole, request_id: str = ""
    ) -> Member:
        """Gives a user, by name or id, a role in a project, or another role."""
        once = Once(principal.actor, "project.add_member", request_id)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.OWNER)
            person = await tx.users.find(user)
            member = Member(found.id, person.id, role, person.name)
            if await once.result(tx) is not None:
                return member
            check_member_change(tuple(await tx.projects.members(found.id)), user_id=person.id, role=role)
            await tx.projects.put_member(member)
            detail = {"user": person.name, "role": role.value}
            await tx.audit.add(
                "project.add_member", found.id, actor=principal.actor, project_id=found.id, detail=detail
            )
            await once.keep(tx, person.id)
            return member

    async def members(self, principal: Principal, project: str) -> Sequence[Member]:
        """Returns the members of a project by name."""
        async with self._store.snapshot() as tx:
            return await tx.projects.members((await enter(tx, principal, project, ProjectRole.VIEWER)).id)

    async def remove_member(self, principal: Principal, project: str, user: str, *, request_id: str = "") -> None:
        """Takes a user out of a project; harmless when the user is no member."""
        once = Once(principal.actor, "project.remove_member", request_id)
        async with self._store.transaction() as tx:
            if await once.result(tx) is not None:
                return
            found = await enter(tx, principal, project, ProjectRole.OWNER)
            person = await tx.users.find(user)
            check_member_change(tuple(await tx.projects.members(found.id)), user_id=person.id, role=None)
            await tx.projects.remove_member(found.id, person.id)
            detail = {"user": person.name}
            await tx.audit.add(
                "project.remove_member", found.id, actor=principal.actor, project_id=found.id, detail=detail
            )
            await once.keep(tx, person.id)

    async def _sight(self, tx: Transaction, principal: Principal, project: Project) -> ProjectSight:
        role = await tx.projects.role(project.id, principal.user_id)
        return ProjectSight(project, await tx.classes.get(project.id), role or ProjectRole.OWNER)


async def _refuse_in_use(tx: Transaction, project: Project) -> None:
    running = frozenset(state for state in TaskState if not state.final)
    tasks = await tx.tasks.list(TaskFilter(project_ids=frozenset({project.id}), states=running, limit=6))
    if tasks:
        named = ", ".join(f"{task.kind} {task.id}" for task in tasks[:5]) + (" …" if len(tasks) > 5 else "")  # noqa: PLR2004
        message = f"tasks of {project.name} are not over: {named}; cancel them or wait"
        raise ConflictError("PROJECT_IN_USE", message, tasks=named)
