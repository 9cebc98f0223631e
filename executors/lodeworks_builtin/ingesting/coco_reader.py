"""COCO: JSON files that annotate many pictures each."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lodeworks_formats.annotations.coco import CocoFile, CocoImage, parse_coco
from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader

from lodeworks_builtin.ingesting.labels import Labels, labels_in_frame, without_scores
from lodeworks_builtin.ingesting.layout import SPLIT_FOLDERS, layout_of, split_of_folders
from lodeworks_builtin.ingesting.listing import Listing
from lodeworks_builtin.ingesting.meta import NO_SPLIT
from lodeworks_builtin.ingesting.placed import Candidate
from lodeworks_builtin.ingesting.recognition import leaf
from lodeworks_builtin.ingesting.report import ACCEPTED, ANNOTATIONS, NOTED, PICTURES, IngestReport
from lodeworks_builtin.ingesting.source import Entry, Source

_FOLDERS = {"images": PICTURES}
_OTHER_KINDS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
_YEAR = re.compile(r"(19|20)\d\d\Z")


@dataclass(frozen=True, slots=True)
class _Listed:
    """An image, the part that its file stands for, and the file."""

    image: CocoImage
    split: str | None
    file: str


class CocoReader:
    """Reads ground truth from JSON files; pictures are found by file_name, else by base name."""

    format_name = "coco"

    def __init__(
        self, source: Source, listing: Listing, report: IngestReport, *, max_file_bytes: int = 1 << 30
    ) -> None:
        described = [entry for entry in listing if leaf(entry).endswith(".json")]
        rest = (entry for entry in listing if not leaf(entry).endswith(".json"))
        if any(leaf(entry).startswith("instances") for entry in described):
            # COCO's own captions and key points list the same pictures without boxes.
            for _ in [entry for entry in described if leaf(entry).startswith(_OTHER_KINDS)]:
                report.other()
            described = [entry for entry in described if not leaf(entry).startswith(_OTHER_KINDS)]
        self.layout = layout_of(rest, listing.index, folders=_FOLDERS, suffix="")
        self.shared_name = described[0].name if described else ""
        self._images: dict[str, list[_Listed]] = {}
        self._splits: set[str] = set()
        broken: FormatError | None = None
        for entry in described:
            try:
                found = parse_coco(source.read(entry, limit=max_file_bytes), file=entry.name)
            except FormatError as error:
                broken = broken or error
                report.reject(ANNOTATIONS, entry.name, reason=error.reason, message=error.message, line=error.line)
                continue
            self._take(found, entry, report)
        if not described or (broken is not None and not self._images):
            why = f" ({broken.message})" if broken is not None else ""
            message = f"none of its JSON files is COCO{why}; mend them, or take the pictures alone with --format voc"
            raise FormatError("BAD_COCO", message, self.shared_name, None if broken is None else broken.line)

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the boxes of a picture; one that is listed without any is annotated and empty."""
        found = self._find(candidate)
        if found is None:
            return None
        image = found.image
        labels = labels_in_frame(without_scores(image.boxes), header, written=(image.width, image.height))
        problems = tuple(image.problems) + labels.problems
        return Labels(labels.boxes, problems, image.tags, note=labels.note, file=found.file)

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part that the JSON file stands for; of a picture that none lists, that of its folder."""
        found = self._find(candidate)
        if found is not None and found.split is not None:
            return found.split or None
        folder, below, _ = candidate.name.partition("/")
        if below and folder in self._splits:
            return None if folder == NO_SPLIT else folder
        return split_of_folders(candidate.picture.name)

    def name(self, candidate: Candidate) -> str:
        """Returns the path without the folder of the part."""
        first, _, below = candidate.name.partition("/")
        return below if below and (first in self._splits or first.lower() in SPLIT_FOLDERS) else candidate.name

    def report_missing(self, report: IngestReport, candidates: Iterable[Candidate]) -> None:
        """Reports the images that are listed and not among the pictures, and counts their boxes."""
        there = {name for candidate in candidates for name in self._names(candidate) if name in self._images}
        for name, listed in self._images.items():
            if name not in there:
                message = f"{listed[0].file} lists a picture that is not there"
                report.problem(name, reason="ANNOTATION_WITHOUT_PICTURE", message=message, outcome=NOTED)
                report.stray_boxes(listed[0].file, (), unread=sum(map(_size, listed)))

    def _take(self, found: CocoFile, entry: Entry, report: IngestReport) -> None:
        report.file(ANNOTATIONS, ACCEPTED)
        split = found.split if found.split is not None else _split_of(leaf(entry))
        if split is not None:
            self._splits.add(split or NO_SPLIT)
        for name, image in found.images.items():
            self._images.setdefault(name, []).append(_Listed(image, split, entry.name))
        report.stray_boxes(entry.name, found.strays)
        for reason, message in found.doubles:
            report.problem(entry.name, reason=reason, message=message, outcome=NOTED)

    def _find(self, candidate: Candidate) -> _Listed | None:
        """Returns the entry of a picture; where several files list its name, the folder decides which is meant."""
        for name in self._names(candidate):
            listed = self._images.get(name, [])
            if len(listed) == 1:
                return listed[0]
            folders = {candidate.name.partition("/")[0], split_of_folders(candidate.picture.name)}
            meant = [one for one in listed if (NO_SPLIT if one.split == "" else one.split) in folders]
            if meant or listed:
                return (meant or listed)[0]
        return None

    def _names(self, candidate: Candidate) -> tuple[str, ...]:
        whole = candidate.name
        return (*dict.fromkeys((self.name(candidate), whole, candidate.picture.name, whole.rpartition("/")[2])),)


def _split_of(name: str) -> str | None:
    """Returns the part that the name of a JSON file tells, such as instances_val2017.json."""
    words = re.split(r"[-_. ]", name.removesuffix(".json"))
    return next(
        (SPLIT_FOLDERS[word] for word in (_YEAR.sub("", word) for word in words) if word in SPLIT_FOLDERS), None
    )


def _size(listed: _Listed) -> int:
    return len(listed.image.boxes) + sum(problem.fatal for problem in listed.image.problems)
