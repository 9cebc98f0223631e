"""Datasets as messages."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

from google.protobuf.json_format import MessageToDict
from lodeworks.api.dataset.v1 import dataset_pb2
from lodeworks_formats.boxes import Box
from lodeworks_formats.pictures import Picture

from lodeworks_controller.domain.dataset import VersionState
from lodeworks_controller.domain.operation import Conflict, Filter
from lodeworks_controller.domain.outcome import IOUS, HasPrediction, Outcome, PredictionFilter
from lodeworks_controller.domain.prediction_set import PredictionSet
from lodeworks_controller.domain.report import ImportCounts, Rejection
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.dataset import DatasetSight, Figures, VersionSight
from lodeworks_controller.service.dataset_arrival import UnknownClasses
from lodeworks_controller.service.segments import Page, PictureOutcomes
from lodeworks_controller.transport.wire import to_time

_STATES: Final = {
    VersionState.CREATING: dataset_pb2.VERSION_STATE_CREATING,
    VersionState.READY: dataset_pb2.VERSION_STATE_READY,
    VersionState.FAILED: dataset_pb2.VERSION_STATE_FAILED,
}
_FORMATS: Final = {
    dataset_pb2.ANNOTATION_FORMAT_VOC: "voc",
    dataset_pb2.ANNOTATION_FORMAT_COCO: "coco",
    dataset_pb2.ANNOTATION_FORMAT_YOLO: "yolo",
    dataset_pb2.ANNOTATION_FORMAT_VOCDEVKIT: "vocdevkit",
}
_UNKNOWN: Final = {
    dataset_pb2.UNKNOWN_CLASSES_UNSPECIFIED: UnknownClasses.STOP,
    dataset_pb2.UNKNOWN_CLASSES_STOP: UnknownClasses.STOP,
    dataset_pb2.UNKNOWN_CLASSES_IGNORE: UnknownClasses.IGNORE,
    dataset_pb2.UNKNOWN_CLASSES_ADD: UnknownClasses.ADD,
}
_CONFLICTS: Final = {
    dataset_pb2.MERGE_STRATEGY_UNSPECIFIED: Conflict.NEWEST,
    dataset_pb2.MERGE_STRATEGY_NEWEST: Conflict.NEWEST,
    dataset_pb2.MERGE_STRATEGY_HOST: Conflict.HOST,
    dataset_pb2.MERGE_STRATEGY_GUEST: Conflict.GUEST,
    dataset_pb2.MERGE_STRATEGY_STOP: Conflict.STOP,
}

_OUTCOMES: Final = {
    dataset_pb2.BOX_OUTCOME_TRUE_POSITIVE: Outcome.TRUE_POSITIVE,
    dataset_pb2.BOX_OUTCOME_FALSE_POSITIVE: Outcome.FALSE_POSITIVE,
    dataset_pb2.BOX_OUTCOME_FALSE_NEGATIVE: Outcome.FALSE_NEGATIVE,
}
_OUTCOMES_SHOWN: Final[dict[Outcome | None, dataset_pb2.BoxOutcome.ValueType]] = {
    None: dataset_pb2.BOX_OUTCOME_UNSPECIFIED,
    **{outcome: wire for wire, outcome in _OUTCOMES.items()},
}


def format_of(wire: dataset_pb2.AnnotationFormat.ValueType, *, default: str) -> str:
    """Returns the name of a format; the default when none is told."""
    if wire == dataset_pb2.ANNOTATION_FORMAT_UNSPECIFIED:
        return default
    found = _FORMATS.get(wire)
    if found is None:
        raise InvalidError("SETTING_INVALID", "choose the format voc, vocdevkit, coco or yolo", field="format")
    return found


def unknown_classes_of(wire: dataset_pb2.UnknownClasses.ValueType) -> UnknownClasses:
    """Returns what an import does with classes that the project does not know."""
    found = _UNKNOWN.get(wire)
    if found is None:
        raise InvalidError("SETTING_INVALID", "choose stop, ignore or add", field="unknown_classes")
    return found


def conflict_of(wire: dataset_pb2.MergeStrategy.ValueType) -> Conflict:
    """Returns whose annotation wins in a merge."""
    found = _CONFLICTS.get(wire)
    if found is None:
        raise InvalidError("SETTING_INVALID", "choose newest, host, guest or stop", field="strategy")
    return found


def filter_of(wire: dataset_pb2.Filter) -> Filter:
    """Returns the filter of a message; raises InvalidError FILTER_INVALID for an outcome that is none."""
    return Filter(
        classes=tuple(wire.any_class),
        without_classes=tuple(wire.without_class),
        tags=tuple(wire.any_tag),
        annotated=wire.annotated if wire.HasField("annotated") else None,
        min_boxes=wire.min_boxes,
        min_width=wire.min_width,
        min_height=wire.min_height,
        expression=wire.expression,
        predictions=_prediction_filter(wire.predictions) if wire.HasField("predictions") else None,
    )


def _prediction_filter(wire: dataset_pb2.PredictionFilter) -> PredictionFilter:
    unknown = [outcome for outcome in wire.any_outcome if outcome not in _OUTCOMES]
    if unknown:
        message = "choose outcomes among true positive, false positive and false negative"
        raise InvalidError("FILTER_INVALID", message, field="filter.predictions")
    what = HasPrediction(
        classes=tuple(wire.any_class),
        outcomes=tuple(_OUTCOMES[outcome] for outcome in wire.any_outcome),
        min_score=wire.min_score,
        max_score=wire.max_score if wire.HasField("max_score") else 1.0,
        iou=wire.iou or IOUS[0],
    )
    return PredictionFilter(wire.prediction_set, what)


def to_dataset(sight: DatasetSight) -> dataset_pb2.Dataset:
    """Returns a dataset with its newest READY version."""
    dataset = sight.dataset
    return dataset_pb2.Dataset(
        id=dataset.id,
        project_id=dataset.project_id,
        name=dataset.name,
        latest=None if sight.latest is None else to_version(sight.latest),
        version_count=sight.version_count,
        create_time=to_time(dataset.created_at),
        hidden=dataset.hidden,
    )


def to_version(sight: VersionSight) -> dataset_pb2.DatasetVersion:
    """Returns one version; counts by class only where the sight has them."""
    version = sight.version
    content = version.content
    statistics = None if content is None else content.statistics
    return dataset_pb2.DatasetVersion(
        id=version.id,
        dataset_id=version.dataset_id,
        name=version.full_name if version.id else version.name,
        number=version.number,
        state=_STATES[version.state],
        digest="" if content is None else content.manifest_digest,
        picture_count=0 if statistics is None else statistics.pictures,
        annotated_count=0 if statistics is None else statistics.annotated,
        box_count=sight.boxes,
        class_counts=() if sight.figures is None else to_stats(sight.figures).classes,
        operation=version.making.operation.value,
        parameters_json=json.dumps(dict(version.making.parameters) | _seed(version.making.seed), sort_keys=True),
        parent_ids=version.making.parents,
        parent_names=sight.parent_names,
        class_map_revision=version.class_revision,
        task_id=version.task_id or "",
        create_time=to_time(version.created_at),
        size_bytes=0 if statistics is None else statistics.picture_bytes,
    )


def _seed(seed: int | None) -> dict[str, int]:
    return {} if seed is None else {"seed": seed}


def to_stats(figures: Figures) -> dataset_pb2.DatasetStats:
    """Returns the counts of a version."""
    return dataset_pb2.DatasetStats(
        pictures=figures.pictures,
        annotated=figures.annotated,
        empty=figures.empty,
        boxes=figures.boxes,
        ignored_boxes=figures.ignored_boxes,
        size_bytes=figures.size_bytes,
        classes=[
            dataset_pb2.ClassCount(
                class_name=entry.class_name,
                boxes=entry.boxes,
                pictures=entry.pictures,
                negative_pictures=entry.negative_pictures,
            )
            for entry in figures.classes
        ],
    )


def to_counts(counts: ImportCounts) -> dataset_pb2.ImportCounts:
    """Returns the counts of an import."""
    return dataset_pb2.ImportCounts(
        files=counts.files,
        pictures_accepted=counts.pictures_accepted,
        pictures_merged=counts.pictures_merged,
        annotations_accepted=counts.annotations_accepted,
        files_rejected=counts.files_rejected,
        files_ignored=counts.files_other,
        boxes_accepted=counts.boxes_accepted,
        boxes_rejected=counts.boxes_rejected,
        pictures_known=counts.pictures_known,
    )


def to_rejections(found: Iterable[Rejection], *, room_bytes: int) -> Iterator[dataset_pb2.Rejection]:
    """Yields what an import did not take, or changed: the first ones, as many as there is room for in the message."""
    for one in found:
        told = dataset_pb2.Rejection(file=one.file, reason=one.reason, detail=one.message, note=one.taken)
        room_bytes -= told.ByteSize() + 8
        if room_bytes < 0:
            return
        yield told


def to_pictures(page: Page) -> Iterator[dataset_pb2.Picture]:
    """Yields the pictures of a page with their boxes."""
    for aid, picture in page.pictures:
        yield to_picture(picture, page.outcomes.get(aid) or PictureOutcomes(), page.thumbnails.get(aid, ""))


def to_picture(picture: Picture, outcomes: PictureOutcomes, thumbnail: str) -> dataset_pb2.Picture:
    """Returns one picture with its boxes."""
    return dataset_pb2.Picture(
        digest=picture.digest,
        extension=picture.extension,
        width=picture.width,
        height=picture.height,
        size_bytes=picture.size_bytes,
        names=picture.names,
        tags=picture.tags,
        annotated=picture.boxes is not None,
        boxes=_boxes(picture.boxes or (), outcomes.boxes),
        predictions=_boxes(picture.predictions or (), outcomes.predictions),
        derived_digest=picture.derived_digest or "",
        thumbnail_digest=thumbnail,
    )


def _boxes(boxes: Sequence[Box], outcomes: Sequence[Outcome | None]) -> Iterator[dataset_pb2.Box]:
    for box, outcome in zip_longest(boxes, outcomes[: len(boxes)]):
        yield _box(box, outcome)


def _box(box: Box, outcome: Outcome | None) -> dataset_pb2.Box:
    return dataset_pb2.Box(
        class_name=box.class_name,
        x=box.x,
        y=box.y,
        w=box.w,
        h=box.h,
        score=box.score,
        difficult=box.difficult,
        crowd=box.crowd,
        tags=box.tags,
        outcome=_OUTCOMES_SHOWN[outcome],
        shape=box.shape or "",
    )


def to_prediction_set(found: PredictionSet) -> dataset_pb2.PredictionSet:
    """Returns a prediction set."""
    return dataset_pb2.PredictionSet(
        id=found.id,
        version_id=found.version_id,
        model_name=found.model_name,
        variant=found.variant,
        box_count=found.statistics.boxes,
        create_time=to_time(found.created_at),
        task_id=found.task_id or "",
    )


def query_of(request: dataset_pb2.ListPicturesRequest) -> str:
    """Returns a text that names the query of a page, so that a token is not used for another one."""
    asked = MessageToDict(request)
    for key in ("pageSize", "pageToken"):
        asked.pop(key, None)
    return json.dumps(asked, sort_keys=True)
