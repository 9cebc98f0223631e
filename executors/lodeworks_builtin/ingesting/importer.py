"""One pass over the pictures of a source, and what identical files add to each other."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader, probe_picture
from lodeworks_formats.pictures import Picture
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.blobs import BlobFolder
from lodeworks_builtin.ingesting.formats import TruthReader
from lodeworks_builtin.ingesting.intake import Intake
from lodeworks_builtin.ingesting.labels import Labels
from lodeworks_builtin.ingesting.layout import Candidate
from lodeworks_builtin.ingesting.report import (
    ACCEPTED,
    ANNOTATIONS,
    MERGED,
    NOTED,
    PICTURES,
    PREDICTIONS,
    IngestReport,
)
from lodeworks_builtin.ingesting.source import Entry, Source
from lodeworks_builtin.ingesting.upright import check_decodes, needs_upright_copy, upright_copy
from lodeworks_builtin.pace import Pace, Progress

_JPEG_BITS = 8  # no decoder of ours knows any other JPEG
_WRITTEN = {"jpeg": "jpg", "tif": "tiff"}


@dataclass(slots=True)
class Merge:
    """What later files with the same bytes add to the first one: names, and labels that it did not have."""

    names: list[str] = field(default_factory=list)
    truth: Labels | None = None
    predictions: Labels | None = None


@dataclass(slots=True)
class _First:
    """The first file of a digest, and hashes of its labels (None without)."""

    file: str
    truth: int | None
    predictions: int | None


class Importer:
    """One pass over the pictures of a source."""

    def __init__(
        self, source: Source, reader: TruthReader, *, blobs: BlobFolder, options: IngestOptions, report: IngestReport
    ) -> None:
        self.merges: dict[str, Merge] = {}
        self._source = source
        self._reader = reader
        self._layout = layout = reader.layout
        self._intake = Intake(source, reader, options=options, report=report)
        self._blobs = blobs
        self._options = options
        self._report = report
        self._first: dict[bytes, _First] = {}
        self._has_truth = reader.shared_name or any(candidate.truth for candidate in layout.candidates)

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Yields each different picture once, in the order of the source."""
        self._intake.report_strays()
        candidates = self._layout.candidates
        self._reader.report_missing(self._report, candidates)
        for candidate in Pace(len(candidates), progress=progress).through(candidates, what="reading"):
            picture = self._take(candidate)
            if picture is not None:
                yield picture
        self._report.mapped = self._intake.classes.counts

    def merged(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """Yields the pictures with what identical ones add."""
        for picture in pictures:
            merge = self.merges.get(picture.digest)
            if merge is None:
                yield picture
                continue
            truth, predictions = merge.truth, merge.predictions
            yield replace(
                picture,
                names=(*picture.names, *merge.names),
                boxes=picture.boxes if truth is None else truth.boxes,
                tags=picture.tags if truth is None else truth.tags,
                predictions=picture.predictions if predictions is None else predictions.boxes,
            )

    def _take(self, candidate: Candidate) -> Picture | None:
        try:
            data = self._source.read(candidate.picture, limit=self._options.max_picture_bytes)
            header = probe_picture(data, max_pixels=self._options.max_pixels)
            if self._options.decode or (header.extension == "jpg" and header.bits != _JPEG_BITS):
                check_decodes(data)
            digest = hashlib.sha256(data)
            first = self._first.get(digest.digest())
            derived = upright_copy(data, header) if first is None and needs_upright_copy(header) else None
        except FormatError as error:
            self._intake.refuse(candidate, error)
            return None
        truth, predictions = self._intake.truth(candidate, header), self._intake.predictions(candidate, header)
        if first is not None:
            self._merge(digest.hexdigest(), candidate, first, truth=truth, predictions=predictions)
            return None
        self._first[digest.digest()] = _First(candidate.picture.name, _hash(truth), _hash(predictions))
        self._blobs.put_as(digest.hexdigest(), data)
        self._report.file(PICTURES, ACCEPTED)
        self._note(candidate.picture.name, header)
        self._report.size_bytes += len(data)
        self._intake.accept(candidate, truth=truth, predictions=predictions)
        if truth is None and candidate.truth is None and self._has_truth:
            message = "there is no annotation of this name; the picture comes in as not annotated"
            name = candidate.picture.name
            self._report.problem(name, reason="PICTURE_WITHOUT_ANNOTATION", message=message, outcome=NOTED)
        width, height = header.upright_size
        return Picture(
            digest=digest.hexdigest(),
            extension=header.extension,
            width=width,
            height=height,
            orientation=header.orientation,
            channels=header.channels,
            size_bytes=len(data),
            names=(self._reader.name(candidate),),
            tags=() if truth is None else truth.tags,
            split=self._reader.split(candidate),
            boxes=None if truth is None else truth.boxes,
            predictions=None if predictions is None else predictions.boxes,
            derived_digest=None if derived is None else self._blobs.put(derived),
        )

    def _note(self, name: str, header: PictureHeader) -> None:
        """Tells what a person might not know about a picture that was taken."""
        suffix = name.rpartition(".")[2].lower()
        if _WRITTEN.get(suffix, suffix) != header.extension:
            message = f"the name ends in .{suffix} and the bytes are a {header.extension}, as which it was taken"
            self._report.problem(name, reason="WRONG_EXTENSION", message=message, outcome=NOTED)
        if header.several:
            message = "the file holds several pictures, of which the first counts"
            self._report.problem(name, reason="SEVERAL_PICTURES", message=message, outcome=NOTED)
        if header.bits > 8:  # noqa: PLR2004 — bits of a byte
            message = f"the picture has {header.bits} bits a channel; programs that train see 8 of them"
            self._report.problem(name, reason="DEEP_PICTURE", message=message, outcome=NOTED)

    def _merge(
        self, digest: str, candidate: Candidate, first: _First, *, truth: Labels | None, predictions: Labels | None
    ) -> None:
        merge = self.merges.setdefault(digest, Merge())
        merge.names.append(self._reader.name(candidate))
        self._report.file(PICTURES, MERGED)
        self._report.problem(
            candidate.picture.name, reason="IDENTICAL", message=f"the same bytes as {first.file}", outcome=MERGED
        )
        if first.truth is None and truth is not None:
            merge.truth, first.truth = truth, _hash(truth)
            self._intake.count(candidate.truth, truth, kind=ANNOTATIONS, outcome=ACCEPTED)
        else:
            self._merge_labels(candidate.truth, truth, first, kind=ANNOTATIONS)
        if first.predictions is None and predictions is not None:
            merge.predictions, first.predictions = predictions, _hash(predictions)
            self._intake.count(candidate.predictions, predictions, kind=PREDICTIONS, outcome=ACCEPTED)
        else:
            self._merge_labels(candidate.predictions, predictions, first, kind=PREDICTIONS)

    def _merge_labels(self, entry: Entry | None, labels: Labels | None, first: _First, *, kind: str) -> None:
        self._intake.count(entry, labels, kind=kind, outcome=MERGED)
        if labels is not None and _hash(labels) != (first.truth if kind == ANNOTATIONS else first.predictions):
            message = f"it differs from that of the identical picture {first.file}, which counts"
            self._report.problem(
                self._intake.name(entry, labels), reason="ANNOTATION_DIFFERS", message=message, outcome=NOTED
            )


def _hash(labels: Labels | None) -> int | None:
    return None if labels is None else hash(labels.boxes)
