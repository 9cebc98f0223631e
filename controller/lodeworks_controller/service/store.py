"""The unit of work: everything that one decision reads and writes, all of it or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from lodeworks_controller.service.algorithm import AlgorithmRows
    from lodeworks_controller.service.audit import AuditRows
    from lodeworks_controller.service.catalogue import CatalogueRows, LineageRows
    from lodeworks_controller.service.collection import CollectionRows
    from lodeworks_controller.service.content_scope import BlobRows
    from lodeworks_controller.service.dataset import DatasetRows
    from lodeworks_controller.service.device import DeviceRows
    from lodeworks_controller.service.enrolment import AgentRows
    from lodeworks_controller.service.evaluation import EvaluationRows
    from lodeworks_controller.service.executor import ExecutorRows
    from lodeworks_controller.service.idempotency import IdempotencyRows
    from lodeworks_controller.service.identity import TokenRows, UserRows
    from lodeworks_controller.service.installation import InstallationRows
    from lodeworks_controller.service.message import MessageRows
    from lodeworks_controller.service.model import ModelRows
    from lodeworks_controller.service.object_class import ClassRows
    from lodeworks_controller.service.outbox import OutboxRows
    from lodeworks_controller.service.prediction_set import PredictionSetRows
    from lodeworks_controller.service.presence import PresenceRows
    from lodeworks_controller.service.project import ProjectRows
    from lodeworks_controller.service.quota import QuotaRows
    from lodeworks_controller.service.role import RoleRows
    from lodeworks_controller.service.schedule import ScheduleRows
    from lodeworks_controller.service.task_rows import TaskRows
    from lodeworks_controller.service.webhook import WebhookRows
    from lodeworks_controller.service.worker import WorkerRows


class Transaction(Protocol):
    """What one unit of work sees. No repository commits; no network and no subprocess inside."""

    def now(self) -> datetime:
        """Returns the database's clock; within one unit of work it stands still."""
        ...

    def on_commit(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is durable; never when it is not. It must not raise or block."""
        ...

    def on_kept(self, action: Callable[[], None]) -> None:
        """Runs the action once the unit of work is done, maybe before it is durable.

        For hints to those who write in turn: what they write can share this unit's commit. Nobody else may hear of it.
        """
        ...

    @property
    def tasks(self) -> TaskRows:
        """The tasks."""
        ...

    @property
    def quotas(self) -> QuotaRows:
        """What projects and people may use at most."""
        ...

    @property
    def workers(self) -> WorkerRows:
        """The workers."""
        ...

    @property
    def users(self) -> UserRows:
        """The users."""
        ...

    @property
    def tokens(self) -> TokenRows:
        """The bearer tokens of people."""
        ...

    @property
    def agents(self) -> AgentRows:
        """The enrolled workers and devices, with their one-time tokens."""
        ...

    @property
    def blobs(self) -> BlobRows:
        """Which scopes refer to which blobs."""
        ...

    @property
    def collection(self) -> CollectionRows:
        """The blobs as the collector sees them."""
        ...

    @property
    def idempotency(self) -> IdempotencyRows:
        """The requests that were carried out."""
        ...

    @property
    def projects(self) -> ProjectRows:
        """The projects and their members."""
        ...

    @property
    def classes(self) -> ClassRows:
        """The raw classes of the installation and the class maps of projects."""
        ...

    @property
    def datasets(self) -> DatasetRows:
        """The datasets, their versions and import reports."""
        ...

    @property
    def prediction_sets(self) -> PredictionSetRows:
        """The prediction sets."""
        ...

    @property
    def catalogue(self) -> CatalogueRows:
        """Ranges of ids, segments of assets, views."""
        ...

    @property
    def lineage(self) -> LineageRows:
        """What was made from what."""
        ...

    @property
    def models(self) -> ModelRows:
        """The models."""
        ...

    @property
    def evaluations(self) -> EvaluationRows:
        """The evaluations."""
        ...

    @property
    def executors(self) -> ExecutorRows:
        """The executors that people registered."""
        ...

    @property
    def algorithms(self) -> AlgorithmRows:
        """The algorithms and their releases."""
        ...

    @property
    def devices(self) -> DeviceRows:
        """The devices."""
        ...

    @property
    def outbox(self) -> OutboxRows:
        """What is to be told to others once this is durable."""
        ...

    @property
    def webhooks(self) -> WebhookRows:
        """The webhooks and their deliveries."""
        ...

    @property
    def messages(self) -> MessageRows:
        """The messages to people."""
        ...

    @property
    def presence(self) -> PresenceRows:
        """Which workers were there when last looked."""
        ...

    @property
    def schedules(self) -> ScheduleRows:
        """The schedules and their fires."""
        ...

    @property
    def roles(self) -> RoleRows:
        """Who does what is done by one controller for all."""
        ...

    @property
    def installation(self) -> InstallationRows:
        """What holds for the installation as a whole."""
        ...

    @property
    def audit(self) -> AuditRows:
        """Who did what; append only."""
        ...


class Store(Protocol):
    """Opens units of work."""

    def transaction(self, *, brief: bool = False, heartbeat: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Opens a unit of work that may write; left without an error it is durable, else it never was.

        There is one writer: units of work stand in a queue. One must not be opened inside another.

        Args:
            brief: It reads and writes few rows by key, and awaits nothing else: it may run in the loop's own thread.
            heartbeat: It holds nothing that would be missed after a power cut: it need not reach the disk at once.
        """
        ...

    def snapshot(self, *, brief: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Opens a unit of work that only reads, beside the writer, at one moment's state; brief as `transaction`."""
        ...
