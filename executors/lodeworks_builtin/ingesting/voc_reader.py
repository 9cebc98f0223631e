"""Pascal VOC: one XML per picture, in the manual's layout or in that of VOCdevkit."""

from collections.abc import Iterable

from lodeworks_formats.picture_header import PictureHeader

from lodeworks_builtin.ingesting.labels import Labels, voc_truth
from lodeworks_builtin.ingesting.layout import layout_of, split_of_folders
from lodeworks_builtin.ingesting.listing import Listing
from lodeworks_builtin.ingesting.meta import read_splits
from lodeworks_builtin.ingesting.placed import Candidate
from lodeworks_builtin.ingesting.report import IngestReport
from lodeworks_builtin.ingesting.source import Source


class VocReader:
    """Reads ground truth from XML files named like the pictures."""

    format_name = "voc"
    shared_name = ""

    def __init__(self, source: Source, listing: Listing, report: IngestReport) -> None:
        self.layout = layout_of(listing, listing.index)
        self._source = source
        self._splits = read_splits(source, self.layout, report)

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the boxes of a picture."""
        return None if candidate.truth is None else voc_truth(self._source.read(candidate.truth), header)

    def report_missing(self, report: IngestReport, candidates: Iterable[Candidate]) -> None:
        """Reports nothing: an annotation file without a picture is a stray of the layout."""
        del report, candidates

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part that ImageSets/Main names; without such lists, a folder on the way."""
        if self.layout.splits:
            return self._splits(candidate.key)
        return split_of_folders(candidate.picture.name)

    def name(self, candidate: Candidate) -> str:
        """Returns the path below the folder of the pictures."""
        return candidate.name
