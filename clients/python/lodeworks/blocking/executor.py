"""Executors: what can train, mine and infer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks.api.executor.v1 import executor_pb2 as pb
from lodeworks.api.executor.v1.executor_pb2_grpc import ExecutorServiceStub
from lodeworks.blocking.paging import pages
from lodeworks.blocking.task import Task, done, task_of
from lodeworks.connection import Connection, new_request_id
from lodeworks.settings import settings_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from lodeworks.api.task.v1.task_pb2 import Task as TaskData


class Executors:
    """The executors that can train, mine and infer.

    Args:
        connection: Where they live.
        project: Name or id of the project that is meant when none is named.
    """

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def get(self, name: str) -> pb.Executor:
        """Returns an executor with its settings. Raises NotFoundError."""
        response: pb.GetExecutorResponse = self._connection.call(
            ExecutorServiceStub, "GetExecutor", pb.GetExecutorRequest(executor=name)
        )
        return response.executor

    def list(self, *, project: str = "", public: bool = False) -> Iterator[pb.Executor]:
        """Yields the executors, sorted by name.

        Args:
            project: Only those that this project can use, name or id; empty = all that the caller may see.
            public: True leaves only public ones that people registered.
        """
        request = pb.ListExecutorsRequest(project=project, public_only=public)
        for executor in pages(self._connection, ExecutorServiceStub, "ListExecutors", request, items="executors"):
            yield executor

    def add(
        self, name: str, *, image: str = "", templates: Mapping[str, str] | None = None, project: str = ""
    ) -> Task[pb.Executor]:
        """Registers a docker image, or a program that workers offer as ``executor:<name>``.

        Args:
            name: Its name.
            image: Reference, ``host/name:tag`` or ``name@sha256:…``; empty for a program.
            templates: Operation (train, mine, infer) → content of its template in /img-man. Left out, a worker fetches
                the image, reads them there and pins its digest.
            project: Whose it is, name or id; empty = the project that is meant when none is named.
        """
        request = pb.AddExecutorRequest(
            name=name,
            image=image,
            templates=[
                pb.SettingsTemplate(operation=operation, template_yaml=text)
                for operation, text in (templates or {}).items()
            ],
            project=project or self._project,
            request_id=new_request_id(),
        )
        response: pb.AddExecutorResponse = self._connection.call(ExecutorServiceStub, "AddExecutor", request)
        if not response.task_id:
            return done(self._connection, response.executor)
        return task_of(self._connection, response.task_id, self._made)

    def pull(self, name: str, *, newest: bool = False, project: str = "") -> Task[pb.Executor]:
        """Fetches the image of an executor onto a worker, ahead of its first run.

        Args:
            name: The executor.
            newest: True asks the registry what its tag means now, and pins that.
            project: Where the task counts; empty = the project that is meant when none is named.
        """
        request = pb.PullExecutorRequest(
            executor=name, newest=newest, project=project or self._project, request_id=new_request_id()
        )
        response: pb.PullExecutorResponse = self._connection.call(ExecutorServiceStub, "PullExecutor", request)
        return task_of(self._connection, response.task_id, self._made)

    def check(
        self,
        image: str,
        *,
        settings: Mapping[str, Any] | None = None,
        gpus: int = 0,
        run_timeout_s: int = 0,
        project: str = "",
    ) -> Task[pb.CheckReport]:
        """Proves an image against the executor protocol: all its tasks, and what it does with bad input.

        Args:
            image: Reference of an image, or name or id of an executor.
            settings: Settings for all operations that have them, such as fewer epochs.
            gpus: GPUs that every run gets.
            run_timeout_s: The longest that one run may take; 0 = 600.
            project: Where the task counts; empty = the project that is meant when none is named.
        """
        request = pb.CheckImageRequest(
            image=image,
            settings_yaml=settings_yaml(settings),
            run_timeout_s=run_timeout_s,
            gpus=gpus,
            project=project or self._project,
            request_id=new_request_id(),
        )
        response: pb.CheckImageResponse = self._connection.call(ExecutorServiceStub, "CheckImage", request)

        def made(task: TaskData) -> pb.CheckReport:
            return self.report(task.id)

        return task_of(self._connection, response.task_id, made)

    def report(self, task_id: str) -> pb.CheckReport:
        """Returns what a check found, by the id of its task. Raises ConflictError while there is no report."""
        response: pb.GetCheckReportResponse = self._connection.call(
            ExecutorServiceStub, "GetCheckReport", pb.GetCheckReportRequest(task_id=task_id)
        )
        return response.report

    def set(
        self,
        name: str,
        *,
        network: str | None = None,
        memory_bytes: int | None = None,
        shm_bytes: int | None = None,
        user: str | None = None,
        out_bytes: int | None = None,
    ) -> pb.Executor:
        """Sets under which bounds the runs of an executor stand; None leaves one as it is, empty or 0 takes it away.

        Args:
            name: The executor.
            network: none, bridge, or a network that the worker's engine knows.
            memory_bytes: Main memory of a run.
            shm_bytes: Its shared memory.
            user: uid or uid:gid inside the container.
            out_bytes: The most that a run may write to /out.
        """
        policy = (self.get(name)).policy
        given = {
            "network": network,
            "memory_bytes": memory_bytes,
            "shm_bytes": shm_bytes,
            "user": user,
            "out_bytes": out_bytes,
        }
        for key, value in given.items():
            if value is not None:
                setattr(policy, key, value)
        request = pb.SetExecutorPolicyRequest(executor=name, policy=policy)
        response: pb.SetExecutorPolicyResponse = self._connection.call(
            ExecutorServiceStub, "SetExecutorPolicy", request
        )
        return response.executor

    def associate(self, name: str, *, mining: str | None = None, inference: str | None = None) -> pb.Executor:
        """Names who mines and infers with what an executor trained, where a task names nobody.

        Args:
            name: The executor that trains.
            mining: Who mines; None leaves it as it is, empty takes it away.
            inference: Who infers; likewise.
        """
        request = pb.AssociateExecutorRequest(executor=name, mining_executor=mining, inference_executor=inference)
        response: pb.AssociateExecutorResponse = self._connection.call(
            ExecutorServiceStub, "AssociateExecutor", request
        )
        return response.executor

    def share(self, name: str, *, public: bool = True) -> pb.Executor:
        """Makes an executor usable in every project, or in its own alone again."""
        request = pb.ShareExecutorRequest(executor=name, public=public)
        response: pb.ShareExecutorResponse = self._connection.call(ExecutorServiceStub, "ShareExecutor", request)
        return response.executor

    def copy(self, name: str, *, to: str, project: str = "") -> pb.Executor:
        """Copies an executor into a project, under a name of its own; the image is the same.

        Args:
            name: The executor.
            to: Name of the copy.
            project: Who gets it; empty = the project that is meant when none is named.
        """
        request = pb.CopyExecutorRequest(
            executor=name, name=to, project=project or self._project, request_id=new_request_id()
        )
        response: pb.CopyExecutorResponse = self._connection.call(ExecutorServiceStub, "CopyExecutor", request)
        return response.executor

    def rename(self, name: str, *, to: str) -> pb.Executor:
        """Gives an executor another name; tasks in hand keep what they were given."""
        request = pb.RenameExecutorRequest(executor=name, name=to, request_id=new_request_id())
        response: pb.RenameExecutorResponse = self._connection.call(ExecutorServiceStub, "RenameExecutor", request)
        return response.executor

    def delete(self, name: str) -> None:
        """Removes an executor that nothing uses."""
        request = pb.DeleteExecutorRequest(executor=name, request_id=new_request_id())
        self._connection.call(ExecutorServiceStub, "DeleteExecutor", request)

    def _made(self, task: TaskData) -> pb.Executor:
        return self.get(task.result.id)
