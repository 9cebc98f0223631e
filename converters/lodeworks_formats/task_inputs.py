"""Inputs and outputs of the built-in executors by role, and their structured options.

An input lies at `<in>/lode/<role>` (a file, or a folder for `<role>/<name>`), an output at `<out>/lode/<role>`;
options travel as canonical JSON under the role `options`:

    IngestOptions(...).to_bytes()      IngestOptions.from_bytes(data)      (the same for each options class)

Pictures of a view lie at `<in>/assets/<last 2 of name>/<name>`, as for every executor.
"""

import json
import types
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json

# Inputs.
SOURCE = "source"
KNOWN = "known"
"""A view whose pictures an import of annotations is for; their bytes do not go along."""
OPTIONS = "options"
VIEW = "view"
CANDIDATE = "candidate"
TRAIN = "train"
VAL = "val"
MODEL = "model"
CALIBRATION = "calibration"
GUARD = "guard"

# Outputs. A role that ends in "/*" in a slot stands for any number of files under it.
EXCHANGE = "exchange"
REPORT = "report"
BLOBS = "blobs"
BLOBS_SLOT = "blobs/*"
ARCHIVE = "archive"
SCORES = "scores"
PREDICTIONS = "predictions"
SIGNALS = "signals"
THUMBNAILS = "thumbnails"
MATCH_TABLE = "match_table"
SUMMARY = "summary"
REPORT_HTML = "report_html"
CARD = "card"
PACKAGE = "package"
IMAGE = "image"


def analyzed_role(place: int, part: str) -> str:
    """Returns the input of one of the datasets of an analysis: its ``view`` or its ``signals``."""
    return f"analyzed/{place}/{part}"


def package_role(target: str, precision: str) -> str:
    """Returns the output folder of one variant, such as package-openvino-int8."""
    return f"{PACKAGE}-{target}-{precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Typed options of one built-in executor; unknown keys and wrong types are refused by name."""

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Reads options; keys left out keep their defaults. Raises FormatError BAD_OPTIONS."""
        try:
            raw = json.loads(data or b"{}")
        except ValueError as error:
            raise FormatError("BAD_OPTIONS", f"the options are no JSON ({error})", OPTIONS) from error
        if not isinstance(raw, dict):
            raise FormatError("BAD_OPTIONS", "the options are no JSON object", OPTIONS)
        hints = get_type_hints(cls)
        known = {field.name for field in fields(cls)}
        if extra := sorted(set(raw) - known):
            raise FormatError(
                "BAD_OPTIONS", f"unknown option {extra[0]!r}; known are {', '.join(sorted(known))}", OPTIONS
            )
        values = {key: _checked(key, value, hints[key]) for key, value in raw.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise FormatError("BAD_OPTIONS", f"an option is missing ({error})", OPTIONS) from error


def _checked(key: str, value: Any, kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        if value is None and type(None) in inner:
            return None
        return _checked(key, value, next(arm for arm in inner if arm is not type(None)))
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        if len(kinds) == len(value):
            return tuple(_checked(key, item, one) for item, one in zip(value, kinds, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    wanted = kind.__name__ if isinstance(kind, type) else str(kind)
    raise FormatError("BAD_OPTIONS", f"option {key!r} wants {wanted}, not {value!r}", OPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions(Options):
    """How a source becomes an exchange form. Limits are per import.

    Attributes:
        format: auto, voc, coco or yolo.
        class_names: What the numbers of YOLO labels mean, in order; () where a file of the source says it.
        class_map: Pairs of a class name in the source and the name to use; "" leaves its boxes out.
        source_name: What the person called the source, for messages.
        url: Address of the source, in place of the role `source`.
        path: Path of the source on the worker's machine, in place of the role `source`.
        max_pixels: Pictures of more pixels are refused as bombs.
        max_picture_bytes: Pictures of more bytes are rejected without being read.
        max_file_bytes: Other files that unpack to more are rejected without being read.
        max_total_bytes: A source that unpacks to more is refused.
        decode: Decodes each picture whole instead of trusting header and ending; 4 times slower.
    """

    format: str = "auto"
    class_names: tuple[str, ...] = ()
    class_map: tuple[tuple[str, str], ...] = ()
    source_name: str = ""
    url: str = ""
    path: str = ""
    max_pixels: int = 200_000_000
    max_picture_bytes: int = 256 << 20
    max_file_bytes: int = 1 << 30
    max_total_bytes: int = 1 << 42
    decode: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions(Options):
    """How a view becomes an archive.

    Attributes:
        format: voc (images/, gt/, pred/), vocdevkit (JPEGImages/, Annotations/), coco or yolo.
        pictures: Whether the pictures go along.
        predictions: Whether predictions go along (VOC: `pred/`).
        model_name: Name of the model behind the predictions, for `pred/meta.yaml`.
    """

    FORMATS: ClassVar[tuple[str, ...]] = ("voc", "vocdevkit", "coco", "yolo")

    format: str = "voc"
    pictures: bool = True
    predictions: bool = False
    model_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions(Options):
    """Made pictures: what a network must really learn, from a seed.

    Attributes:
        pictures: How many.
        seed: The same seed gives the same bytes with the same OpenCV.
        width: Pixels.
        height: Pixels.
        classes: How many of the classes ring, square, cross and star, the last being rare.
        annotated: Share of the pictures that are annotated.
        rejects: How many broken files go into the archive, so that an import has something to reject.
        archive: Whether to write a VOC zip (role archive) instead of exchange form and blobs.
    """

    pictures: int = 200
    seed: int = 0
    width: int = 320
    height: int = 240
    classes: int = 4
    annotated: float = 1.0
    rejects: int = 0
    archive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MineOptions(Options):
    """Which pictures to annotate next.

    Attributes:
        strategy: hybrid, random, entropy, least_confidence, margin, aldd, cald, kcenter, typiclust, or an added one.
        top_k: How many scores to keep, best first; None keeps all.
        seed: For random and for ties.
        score_threshold: Boxes below do not count.
        class_names: The classes of `class_ap`.
        class_ap: How well the model knows each of them, 0 to 1, as its validation measured.
    """

    strategy: str = "hybrid"
    top_k: int | None = None
    seed: int = 0
    score_threshold: float | None = None
    class_names: tuple[str, ...] = ()
    class_ap: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions(Options):
    """Which image is fetched and read, or proved against the executor protocol.

    Attributes:
        reference: As it was written, or pinned.
        newest: Ask the registry although an image of that name is here.
        run_timeout_s: The longest that one run of a check may take.
        settings_yaml: Settings for all operations of a check that have them.
        network, user: As in the executor's policy.
        memory_bytes, shm_bytes: Likewise; 0 = the worker's default.
    """

    reference: str
    newest: bool = False
    run_timeout_s: int = 600
    settings_yaml: str = ""
    network: str = ""
    user: str = ""
    memory_bytes: int = 0
    shm_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptOptions(Options):
    """What a model that was trained elsewhere expects and answers; what is left out comes from its file or its family.

    Attributes:
        decoder: lodeworks, yolov5, yolov8, yolox, detr, detections, or an added one.
        class_names: In the network's order.
        input_size: Height and width, such as 640x640.
        colour: rgb or bgr.
        scale: Factor from bytes, before mean and std.
        mean: Subtracted per channel, after scale.
        std: Divided by per channel.
        fit: How a picture is fitted: centre, top-left or stretch.
        pad: Grey value beside the picture, 0 to 255.
        strides: Of the network's levels.
        score_threshold: Boxes below are dropped.
        nms_iou: Overlap over which the weaker of two boxes of a class goes; 1 keeps all.
        max_detections: Per picture.
    """

    decoder: str = ""
    class_names: tuple[str, ...] = ()
    input_size: str = ""
    colour: str = ""
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fit: str = ""
    pad: int | None = None
    strides: tuple[int, ...] = ()
    score_threshold: float | None = None
    nms_iou: float | None = None
    max_detections: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions(Options):
    """How a model predicts a view.

    Attributes:
        score_threshold: Boxes below are dropped; None takes the model's own.
        threads: Of the runtime; 0 takes all.
        batch_size: Pictures per call.
    """

    score_threshold: float | None = None
    threads: int = 0
    batch_size: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyzeOptions(Options):
    """Which datasets an analysis shows.

    Attributes:
        names: What they are called, in the order of their inputs.
        predicted_by: Name of the model behind the predictions of each; "" where there are none.
    """

    names: tuple[str, ...] = ()
    predicted_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(Options):
    """How predictions are compared with ground truth.

    Attributes:
        class_names: Classes to evaluate, in order; () takes the view's.
        protocol: coco or ymir.
        iou: IoU of the reported counts; None takes the protocol's.
        conf: Confidence of the reported counts; None takes the protocol's.
    """

    class_names: tuple[str, ...] = ()
    protocol: str = "coco"
    iou: float | None = None
    conf: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions(Options):
    """Which variants to make of a stage and what they may lose.

    Attributes:
        targets: Such as onnx, openvino, tensorrt.
        precisions: Such as fp32, fp16, int8.
        max_drop: Greatest loss of absolute mAP50:95 on the guard pictures.
        calibration_pictures: How many of the calibration view are used, seeded.
        seed: Of that choice.
        name: The algorithm's name, for the card.
        provenance: What the package says about its origin, as JSON text.
    """

    targets: tuple[str, ...] = ("onnx",)
    precisions: tuple[str, ...] = ("fp32",)
    max_drop: float = 0.01
    calibration_pictures: int = 128
    seed: int = 0
    name: str = ""
    provenance: str = "{}"
