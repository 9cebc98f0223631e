"""The class map of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lodeworks.api.object_class.v1 import object_class_pb2 as pb
from lodeworks.api.object_class.v1.object_class_pb2_grpc import ClassServiceStub
from lodeworks.connection import AsyncConnection, new_request_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class AsyncClasses:
    """The classes of a project; every change answers the whole map.

    Args:
        connection: Where they live.
        project: Name or id of the project.
    """

    def __init__(self, connection: AsyncConnection, project: str) -> None:
        self._connection = connection
        self._project = project

    async def list(self, *, revision: int = 0) -> tuple[pb.Class, ...]:
        """Returns the map in order; revision 0 is the newest."""
        return await self._map("ListClasses", pb.ListClassesRequest(project=self._project, revision=revision))

    async def add(self, classes: Mapping[str, Sequence[str]]) -> tuple[pb.Class, ...]:
        """Adds classes at the end of the map: name → its aliases."""
        added = [pb.NewClass(name=name, aliases=aliases) for name, aliases in classes.items()]
        request = pb.AddClassesRequest(project=self._project, classes=added, request_id=new_request_id())
        return await self._map("AddClasses", request)

    async def rename(self, name: str, new_name: str) -> tuple[pb.Class, ...]:
        """Gives a class another name; the old one becomes an alias."""
        request = pb.RenameClassRequest(
            project=self._project, class_name=name, new_name=new_name, request_id=new_request_id()
        )
        return await self._map("RenameClass", request)

    async def alias(self, name: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> tuple[pb.Class, ...]:
        """Adds aliases to a class and takes others away."""
        request = pb.SetAliasesRequest(
            project=self._project, class_name=name, add=add, remove=remove, request_id=new_request_id()
        )
        return await self._map("SetAliases", request)

    async def merge(self, names: Sequence[str], *, into: str) -> tuple[pb.Class, ...]:
        """Turns classes into aliases of another one."""
        request = pb.MergeClassesRequest(
            project=self._project, class_names=names, into=into, request_id=new_request_id()
        )
        return await self._map("MergeClasses", request)

    async def delete(self, name: str) -> tuple[pb.Class, ...]:
        """Takes a class out of the map; its boxes are kept and ignored."""
        request = pb.DeleteClassRequest(project=self._project, class_name=name, request_id=new_request_id())
        return await self._map("DeleteClass", request)

    async def _map(self, method: str, request: Any) -> tuple[pb.Class, ...]:
        response: pb.ListClassesResponse = await self._connection.call(ClassServiceStub, method, request)
        return tuple(response.classes)
