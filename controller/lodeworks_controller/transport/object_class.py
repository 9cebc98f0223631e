"""Class maps of projects."""

from typing import Any

import grpc.aio
from lodeworks.api.object_class.v1 import object_class_pb2, object_class_pb2_grpc

from lodeworks_controller.domain.object_class import ClassMap
from lodeworks_controller.service.object_class import ClassService
from lodeworks_controller.transport.gate import Gate

Context = grpc.aio.ServicerContext[Any, Any]


class ClassServicer(object_class_pb2_grpc.ClassServiceServicer):
    """Serves ``lodeworks.api.object_class.v1.ClassService``."""

    def __init__(self, classes: ClassService, *, gate: Gate) -> None:
        self._classes = classes
        self._gate = gate

    async def AddClasses(
        self, request: object_class_pb2.AddClassesRequest, context: Context
    ) -> object_class_pb2.AddClassesResponse:
        """Adds classes at the end of the map."""
        found = await self._classes.add(
            await self._gate.caller(context),
            request.project,
            [(entry.name, tuple(entry.aliases)) for entry in request.classes],
            request_id=request.request_id,
        )
        return object_class_pb2.AddClassesResponse(classes=_classes(found), revision=found.revision)

    async def ListClasses(
        self, request: object_class_pb2.ListClassesRequest, context: Context
    ) -> object_class_pb2.ListClassesResponse:
        """Lists the classes of a project."""
        caller = await self._gate.caller(context)
        found = await self._classes.list(caller, request.project, revision=request.revision or None)
        return object_class_pb2.ListClassesResponse(classes=_classes(found), revision=found.revision)

    async def RenameClass(
        self, request: object_class_pb2.RenameClassRequest, context: Context
    ) -> object_class_pb2.RenameClassResponse:
        """Gives a class another name."""
        found = await self._classes.rename(
            await self._gate.caller(context),
            request.project,
            request.class_name,
            request.new_name,
            request_id=request.request_id,
        )
        return object_class_pb2.RenameClassResponse(classes=_classes(found), revision=found.revision)

    async def SetAliases(
        self, request: object_class_pb2.SetAliasesRequest, context: Context
    ) -> object_class_pb2.SetAliasesResponse:
        """Adds aliases to a class and takes others away."""
        found = await self._classes.set_aliases(
            await self._gate.caller(context),
            request.project,
            request.class_name,
            add=tuple(request.add),
            remove=tuple(request.remove),
            request_id=request.request_id,
        )
        return object_class_pb2.SetAliasesResponse(classes=_classes(found), revision=found.revision)

    async def MergeClasses(
        self, request: object_class_pb2.MergeClassesRequest, context: Context
    ) -> object_class_pb2.MergeClassesResponse:
        """Turns classes into aliases of another one."""
        found = await self._classes.merge(
            await self._gate.caller(context),
            request.project,
            tuple(request.class_names),
            into=request.into,
            request_id=request.request_id,
        )
        return object_class_pb2.MergeClassesResponse(classes=_classes(found), revision=found.revision)

    async def DeleteClass(
        self, request: object_class_pb2.DeleteClassRequest, context: Context
    ) -> object_class_pb2.DeleteClassResponse:
        """Takes a class out of the map."""
        caller = await self._gate.caller(context)
        found = await self._classes.delete(caller, request.project, request.class_name, request_id=request.request_id)
        return object_class_pb2.DeleteClassResponse(classes=_classes(found), revision=found.revision)


def _classes(class_map: ClassMap) -> list[object_class_pb2.Class]:
    return [object_class_pb2.Class(name=entry.name, aliases=entry.aliases) for entry in class_map.classes]
