"""Models that were trained elsewhere: an uploaded file becomes a version, once a worker has proved that it runs."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json
from lodeworks_formats.protocol import parse_config
from lodeworks_formats.task_inputs import AdoptOptions

from lodeworks_controller.domain.identity import Principal, ProjectRole
from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.model import ModelState, ModelVersion, Training
from lodeworks_controller.domain.task.options import TaskOptions
from lodeworks_controller.domain.task.task import NewTask, ObjectRef
from lodeworks_controller.errors import InvalidError, NotFoundError
from lodeworks_controller.service.blob_store import BlobStore, check_digest
from lodeworks_controller.service.content_scope import project_scope
from lodeworks_controller.service.idempotency import Once
from lodeworks_controller.service.labelled import chosen_classes
from lodeworks_controller.service.object_class import class_table
from lodeworks_controller.service.project import enter
from lodeworks_controller.service.store import Store, Transaction
from lodeworks_controller.service.task import TaskService
from lodeworks_controller.service.training import MODEL_VERSION, Submitted, numbered_model

ADOPT: Final = "adopt"
_SUFFIXES: Final = (".onnx", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class AdoptWish:
    """Which uploaded file becomes a version of which model; empty values come from the file."""

    digest: str
    file_name: str
    name: str
    decoder: str = ""
    class_names: tuple[str, ...] = ()
    settings_yaml: str = ""
    options: TaskOptions = field(default_factory=TaskOptions)


class AdoptionService:
    """Makes the tasks that import models."""

    def __init__(self, store: Store, *, blobs: BlobStore, tasks: TaskService, ids: Ids) -> None:
        self._store = store
        self._blobs = blobs
        self._tasks = tasks
        self._ids = ids

    async def adopt(self, principal: Principal, project: str, wish: AdoptWish, *, request_id: str = "") -> Submitted:
        """Makes version N+1 of a model and the task that proves the file."""
        options = _options(wish)
        size_bytes = await self._size(principal, project, wish)
        async with self._store.transaction() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            once = Once(principal.actor, "model.adopt", request_id)
            made = await once.result(tx)
            if made is not None:
                version = await tx.models.version(made)
                return Submitted(version, version.task_id)
            await self._check_classes(tx, found.id, wish)
            await tx.blobs.reference(project_scope(found.id), [wish.digest])
            model = await numbered_model(tx, found, wish.name or _stem(wish.file_name), ids=self._ids)
            version = ModelVersion(
                id=self._ids(),
                model_id=model.id,
                project_id=found.id,
                name=model.name,
                number=model.last_number,
                state=ModelState.CREATING,
                class_names=wish.class_names,
                training=Training(ADOPT, wish.settings_yaml, "", "", "", "", class_revision=0),
                created_by=principal.user_id,
                created_at=tx.now(),
            )
            task = await self._tasks.submit(
                tx,
                NewTask(
                    kind=ADOPT,
                    project_id=found.id,
                    title=f"import {version.full_name} from {wish.file_name}",
                    spec={
                        "model_version_id": version.id,
                        "file": {"digest": wish.digest, "name": _file_name(wish), "size_bytes": size_bytes},
                        "options": options,
                    },
                    created_by=principal.user_id,
                    requires=frozenset({"builtin:adopt"}),
                    subject=ObjectRef(MODEL_VERSION, version.id, version.full_name),
                    options=wish.options,
                ),
            )
            version = replace(version, task_id=task.id)
            await tx.models.insert_version(version)
            await once.keep(tx, version.id)
            return Submitted(version, task.id)

    async def _size(self, principal: Principal, project: str, wish: AdoptWish) -> int:
        """Returns the size of the uploaded file, or refuses one that the project does not have."""
        check_digest(wish.digest)
        async with self._store.snapshot() as tx:
            found = await enter(tx, principal, project, ProjectRole.EDITOR)
            if not await tx.blobs.referenced(project_scope(found.id), [wish.digest]):
                message = f"the project has no content {wish.digest}; upload the file first"
                raise NotFoundError("BLOB_NOT_FOUND", message)
        return (await self._blobs.locate(wish.digest)).size_bytes

    async def _check_classes(self, tx: Transaction, project_id: str, wish: AdoptWish) -> None:
        if wish.class_names:
            chosen_classes((await class_table(tx, project_id)).class_map, wish.class_names)


def _options(wish: AdoptWish) -> dict[str, Any]:
    """Returns the options of the built-in as JSON values, or raises InvalidError that names the setting."""
    try:
        given = parse_config(wish.settings_yaml, file="settings") if wish.settings_yaml.strip() else {}
        said = {"decoder": wish.decoder, "class_names": list(wish.class_names)}
        told = {**given, **{key: value for key, value in said.items() if value}}
        AdoptOptions.from_bytes(canonical_json(told))
    except FormatError as error:
        raise InvalidError("SETTING_INVALID", error.message, field="settings") from error
    return told


def _file_name(wish: AdoptWish) -> str:
    """Returns a safe name for the file with the suffix that says what it is, or refuses."""
    suffix = next((one for one in _SUFFIXES if wish.file_name.lower().endswith(one)), None)
    if suffix is None:
        message = (
            f"{wish.file_name or 'the file'} is no model: give an ONNX file or a YMIR model package (.tar, .tar.gz)"
        )
        raise InvalidError("MODEL_FILE_UNKNOWN", message, field="file_name")
    return f"model{suffix}"


def _stem(file_name: str) -> str:
    lowered = file_name.lower()
    suffix = next((one for one in _SUFFIXES if lowered.endswith(one)), "")
    return lowered.removesuffix(suffix)
