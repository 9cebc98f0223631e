"""Which format a source is in, and how its ground truth is read: VOC, YOLO or COCO."""

from typing import Protocol

from lodeworks_formats.annotations.coco import CocoImage, parse_coco
from lodeworks_formats.annotations.yolo import parse_yolo_dataset, parse_yolo_labels
from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader

from lodeworks_builtin.ingesting.labels import Labels, labels_in_frame, voc_truth, without_scores
from lodeworks_builtin.ingesting.layout import Candidate, Layout, layout_of
from lodeworks_builtin.ingesting.meta import read_splits
from lodeworks_builtin.ingesting.report import ACCEPTED, ANNOTATIONS, NOTED, PICTURES, IngestReport
from lodeworks_builtin.ingesting.source import Entry, Source

_YOLO_FOLDERS = {"images": PICTURES, "labels": ANNOTATIONS}
_COCO_FOLDERS = {"images": PICTURES}
_YOLO_FILES = ("data.yaml", "dataset.yaml")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class TruthReader(Protocol):
    """Reads the ground truth of one source.

    Attributes:
        format_name: voc, yolo or coco.
        layout: The source's files.
        shared_name: The file that annotates all pictures at once; "" where each has its own.
    """

    format_name: str
    layout: Layout
    shared_name: str

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the boxes of a picture, None without; raises FormatError for a broken annotation file."""
        ...

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part (train, val, test, …) that the source puts a picture in."""
        ...


def truth_reader(source: Source, *, format_name: str, report: IngestReport) -> TruthReader:
    """Returns the reader of a source; `auto` goes by its files: XML means VOC, data.yaml YOLO, any JSON COCO.

    Raises:
        FormatError: UNKNOWN_FORMAT, or BAD_YOLO and BAD_COCO for a broken file that concerns all pictures.
    """
    entries = source.entries()
    chosen = _seen(entries) if format_name == "auto" else format_name
    if chosen == "voc":
        return VocReader(source, entries, report)
    if chosen == "yolo":
        return YoloReader(source, entries, report)
    if chosen == "coco":
        return CocoReader(source, entries, report)
    raise FormatError("UNKNOWN_FORMAT", f"format {format_name!r} is unknown; use auto, voc, coco or yolo")


def _seen(entries: list[Entry]) -> str:
    leaves = [_leaf(entry) for entry in entries]
    if any(leaf.endswith(".xml") for leaf in leaves):
        return "voc"
    if any(leaf in _YOLO_FILES for leaf in leaves):
        return "yolo"
    return "coco" if any(leaf.endswith(".json") for leaf in leaves) else "voc"


def _leaf(entry: Entry) -> str:
    return entry.name.rpartition("/")[2].lower()


class VocReader:
    """One XML per picture."""

    format_name = "voc"
    shared_name = ""

    def __init__(self, source: Source, entries: list[Entry], report: IngestReport) -> None:
        self.layout = layout_of(entries)
        self._source = source
        self._splits = read_splits(source, self.layout, report)

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the boxes of a picture."""
        return None if candidate.truth is None else voc_truth(self._source.read(candidate.truth), header)

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part that ImageSets/Main names."""
        return self._splits.get(candidate.key)


class YoloReader:
    """data.yaml with the class names, and one text file per picture; shares are of the upright frame."""

    format_name = "yolo"
    shared_name = ""

    def __init__(self, source: Source, entries: list[Entry], report: IngestReport) -> None:
        described = [entry for entry in entries if _leaf(entry) in _YOLO_FILES]
        if len(described) != 1:
            raise FormatError("BAD_YOLO", f"YOLO wants one data.yaml, and there are {len(described)}")
        report.other()
        self.layout = layout_of(
            [entry for entry in entries if entry is not described[0]], folders=_YOLO_FOLDERS, suffix=".txt"
        )
        self._source = source
        self._dataset = parse_yolo_dataset(source.read(described[0]).decode("utf-8", "replace"), file=described[0].name)

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the boxes of a picture."""
        if candidate.truth is None:
            return None
        width, height = header.upright_size
        text = self._source.read(candidate.truth).decode("utf-8", "replace")
        boxes, problems = parse_yolo_labels(text, class_names=self._dataset.class_names, width=width, height=height)
        labels = labels_in_frame(without_scores(boxes), header, written=(0, 0))
        return Labels(labels.boxes, problems + labels.problems)

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part that a folder on the way to the picture names."""
        folders = candidate.picture.name.lower().split("/")[:-1]
        return next((_SPLITS[folder] for folder in folders if folder in _SPLITS), None)


class CocoReader:
    """JSON files that annotate many pictures each; pictures are found by file_name, else by base name."""

    format_name = "coco"

    def __init__(self, source: Source, entries: list[Entry], report: IngestReport) -> None:
        described = [entry for entry in entries if _leaf(entry).endswith(".json")]
        rest = [entry for entry in entries if not _leaf(entry).endswith(".json")]
        self.layout = layout_of(rest, folders=_COCO_FOLDERS, suffix="")
        self.shared_name = described[0].name if described else ""
        self._images: dict[str, tuple[CocoImage, str | None]] = {}
        for entry in described:
            try:
                found = parse_coco(source.read(entry), file=entry.name)
            except FormatError as error:
                report.reject(ANNOTATIONS, entry.name, reason=error.reason, message=error.message, line=error.line)
                continue
            report.file(ANNOTATIONS, ACCEPTED)
            words = _leaf(entry).removesuffix(".json").replace("2017", "").replace("-", "_").split("_")
            split = next((_SPLITS[word] for word in words if word in _SPLITS), None)
            for name, image in found.images.items():
                self._images.setdefault(name, (image, split))
        if not self._images:
            message = "none of its JSON files is COCO; mend them, or take the pictures alone with the format voc"
            raise FormatError("BAD_COCO", message, self.shared_name)
        self._report_missing(report)

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the boxes of a picture; one that is listed without any is annotated and empty."""
        image = self._find(candidate)[0]
        if image is None:
            return None
        labels = labels_in_frame(without_scores(image.boxes), header, written=(image.width, image.height))
        return Labels(labels.boxes, tuple(image.problems) + labels.problems)

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part that the name of the JSON file tells."""
        return self._find(candidate)[1]

    def _find(self, candidate: Candidate) -> tuple[CocoImage | None, str | None]:
        for name in _names(candidate):
            if name in self._images:
                return self._images[name]
        return None, None

    def _report_missing(self, report: IngestReport) -> None:
        there = {name for candidate in self.layout.candidates for name in _names(candidate)}
        for name in self._images:
            if name not in there:
                message = f"{self.shared_name} lists a picture that is not there"
                report.problem(name, reason="ANNOTATION_WITHOUT_PICTURE", message=message, outcome=NOTED)


def _names(candidate: Candidate) -> tuple[str, str, str]:
    return candidate.name, candidate.picture.name, candidate.name.rpartition("/")[2]
