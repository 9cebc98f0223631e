"""How the ground truth of a source is read: what every format's reader does, and which one a source gets."""

from collections.abc import Iterable
from typing import Protocol

from lodeworks_formats.picture_header import PictureHeader
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.coco_reader import CocoReader
from lodeworks_builtin.ingesting.index import Index
from lodeworks_builtin.ingesting.labels import Labels
from lodeworks_builtin.ingesting.listing import Listing
from lodeworks_builtin.ingesting.placed import Candidate, Layout
from lodeworks_builtin.ingesting.recognition import recognise
from lodeworks_builtin.ingesting.report import IngestReport
from lodeworks_builtin.ingesting.source import Source
from lodeworks_builtin.ingesting.voc_reader import VocReader
from lodeworks_builtin.ingesting.yolo_reader import YoloReader


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

    def report_missing(self, report: IngestReport, candidates: Iterable[Candidate]) -> None:
        """Reports what a shared file says of pictures that are not among these."""
        ...

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part (train, val, test, …) that the source puts a picture in."""
        ...

    def name(self, candidate: Candidate) -> str:
        """Returns what a picture is called: its path without the folders that only the format asks for."""
        ...


def truth_reader(source: Source, *, index: Index, options: IngestOptions, report: IngestReport) -> TruthReader:
    """Returns the reader of a source, and tells the report which format was recognised and why.

    Args:
        source: The source.
        index: Where its files are noted.
        options: The format that is wanted, and the names of classes.
        report: Of the import.

    Raises:
        FormatError: UNKNOWN_FORMAT, or BAD_YOLO, YOLO_WITHOUT_NAMES, BAD_COCO for a file that concerns all pictures.
    """
    listing = Listing(index, source.entries())
    found = recognise(listing, wanted=options.format)
    report.format, report.why = found.format, found.why
    reader: TruthReader
    if found.format == "yolo":
        reader = YoloReader(source, listing, report, class_names=options.class_names)
    elif found.format == "coco":
        reader = CocoReader(source, listing, report, max_file_bytes=options.max_file_bytes)
    else:
        reader = VocReader(source, listing, report)
    report.seen = sorted(reader.layout.folders)
    return reader
