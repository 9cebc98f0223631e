"""Models: lines of versions, each with its stages.

A version is one training's outcome. ``name@3:stage`` names a stage of it; without a stage the recommended one is meant,
without a number the newest READY version. A training that ended early with readable stages leaves a PARTIAL version:
usable by its full name, never the newest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from lodeworks_controller.errors import ConflictError, NotFoundError

MAP50_NAMES = ("mAP50", "map50", "mAP", "map")


class ModelState(Enum):
    """Where a version is in its life."""

    CREATING = "creating"
    READY = "ready"
    PARTIAL = "partial"
    FAILED = "failed"

    @property
    def usable(self) -> bool:
        """Whether its stages may be used by full name."""
        return self in {ModelState.READY, ModelState.PARTIAL}


@dataclass(frozen=True, slots=True)
class StageFile:
    """One file of a stage: base name, sha256 in hex, length."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One set of weights of a version, with what its executor said of it (mAP, loss …)."""

    name: str
    files: tuple[StageFile, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    created_at: datetime | None = None

    @property
    def onnx(self) -> StageFile | None:
        """The ONNX file of the stage, which inference and conversion need."""
        return next((file for file in self.files if file.name.endswith(".onnx")), None)

    @property
    def map50(self) -> float | None:
        """The mean AP that the executor measured."""
        return next((self.metrics[name] for name in MAP50_NAMES if name in self.metrics), None)


@dataclass(frozen=True, slots=True)
class Model:
    """A named line of versions in a project."""

    id: str
    project_id: str
    name: str
    created_at: datetime
    last_number: int = 0
    hidden: bool = False
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """How a version was made: enough to do it again. The names are those of the time."""

    executor: str
    settings_yaml: str
    train_version_id: str
    train_name: str
    val_version_id: str
    val_name: str
    class_revision: int
    from_stage: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One training's outcome. ``name`` is the model's."""

    id: str
    model_id: str
    project_id: str
    name: str
    number: int
    state: ModelState
    class_names: tuple[str, ...]
    training: Training
    created_by: str
    created_at: datetime
    task_id: str = ""
    stages: tuple[Stage, ...] = ()
    recommended_stage: str = ""
    failure: str = ""
    deleted_at: datetime | None = None

    @property
    def full_name(self) -> str:
        """The name with its number, as people write it."""
        return f"{self.name}@{self.number}"

    def stage_name(self, stage: Stage) -> str:
        """Returns the full name of a stage of this version."""
        return f"{self.full_name}:{stage.name}"

    def ready(self, stages: Sequence[Stage], *, recommended: str) -> "ModelVersion":
        """Returns the version with its stages; only one in the making can become READY."""
        self._require_creating("ready")
        return replace(self, state=ModelState.READY, stages=tuple(stages), recommended_stage=recommended)

    def end_early(self, stages: Sequence[Stage], *, recommended: str, failure: str) -> "ModelVersion":
        """Returns the version as its training left it: PARTIAL with the stages written so far, FAILED without any."""
        self._require_creating("partial")
        state = ModelState.PARTIAL if stages else ModelState.FAILED
        return replace(self, state=state, stages=tuple(stages), recommended_stage=recommended, failure=failure)

    def again(self) -> "ModelVersion":
        """Returns the version as one in the making, when its training is repeated."""
        return replace(self, state=ModelState.CREATING, stages=(), recommended_stage="", failure="")

    def recommend(self, stage_name: str) -> "ModelVersion":
        """Returns the version with another stage meant when none is named."""
        return replace(self, recommended_stage=self.stage(stage_name).name)

    def stage(self, name: str | None = None) -> Stage:
        """Returns the named or the recommended stage, or refuses and lists those there are."""
        self._require_usable()
        wanted = name or self.recommended_stage
        found = next((stage for stage in self.stages if stage.name == wanted), None)
        if found is None:
            there = ", ".join(stage.name for stage in self.stages) or "none"
            raise NotFoundError(
                "STAGE_NOT_FOUND", f"{self.full_name} has no stage {wanted!r}; it has: {there}", name=wanted
            )
        return found

    def stage_with_onnx(self, name: str | None = None) -> Stage:
        """Returns a stage that has an ONNX file, or refuses."""
        stage = self.stage(name)
        if stage.onnx is None:
            files = ", ".join(file.name for file in stage.files) or "no file"
            raise ConflictError(
                "MODEL_WITHOUT_ONNX",
                f"stage {self.stage_name(stage)} has no ONNX file (it has: {files}); "
                "train with an executor that exports ONNX, or import the model as ONNX",
                stage=self.stage_name(stage),
            )
        return stage

    def _require_usable(self) -> None:
        if self.deleted_at is not None:
            raise ConflictError("MODEL_DELETED", f"{self.full_name} was deleted; use another version", id=self.id)
        if self.state is ModelState.CREATING:
            message = f"{self.full_name} is still in training; wait for its task {self.task_id}".rstrip()
            raise ConflictError("MODEL_NOT_READY", message, id=self.id, task_id=self.task_id)
        if not self.state.usable:
            message = f"{self.full_name} was never finished: {self.failure or 'its task failed'}; use another version"
            raise ConflictError("MODEL_FAILED", message, id=self.id, task_id=self.task_id)

    def _require_creating(self, after: str) -> None:
        if self.state is not ModelState.CREATING:
            raise ConflictError("MODEL_STATE", f"{self.full_name} is {self.state.value} and cannot become {after}")
