"""One pass over the pictures of a source, and what identical files add to each other."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from lodeworks_formats.boxes import Box
from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader, probe_picture
from lodeworks_formats.pictures import Picture
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.blobs import BlobFolder
from lodeworks_builtin.ingesting.formats import TruthReader
from lodeworks_builtin.ingesting.intake import Intake
from lodeworks_builtin.ingesting.labels import Labels, header_of
from lodeworks_builtin.ingesting.placed import Candidate
from lodeworks_builtin.ingesting.report import (
    ACCEPTED,
    ANNOTATIONS,
    MERGED,
    NOTED,
    PICTURES,
    PREDICTIONS,
    IngestReport,
)
from lodeworks_builtin.ingesting.seen import Seen
from lodeworks_builtin.ingesting.source import Entry, Source
from lodeworks_builtin.ingesting.upright import check_decodes, needs_upright_copy, upright_copy
from lodeworks_builtin.pace import Pace, Progress

_JPEG_BITS = 8  # no decoder of ours knows any other JPEG
_WRITTEN = {"jpeg": "jpg", "tif": "tiff"}


class Importer:
    """One pass over the pictures of a source."""

    def __init__(
        self, source: Source, reader: TruthReader, *, blobs: BlobFolder, options: IngestOptions, report: IngestReport
    ) -> None:
        self.done = 0
        self._source = source
        self._reader = reader
        self._layout = layout = reader.layout
        self._intake = Intake(source, reader, options=options, report=report)
        self._blobs = blobs
        self._options = options
        self._report = report
        self._seen = Seen(layout.index)
        self._has_truth = bool(reader.shared_name) or layout.has_truth()

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Yields each different picture once, in the order of the source."""
        candidates = self._layout.candidates
        if not self.done:
            self._intake.report_strays()
            self._reader.report_missing(self._report, candidates)
        pace = Pace(len(candidates), progress=progress, done=self.done)
        for candidate in pace.through(candidates.behind(self.done), what="reading"):
            self.done += 1
            picture = self._take(candidate)
            if picture is not None:
                yield picture
        self._report.mapped = self._intake.classes.counts

    @property
    def has_merges(self) -> bool:
        """Whether any picture came again."""
        return next(self._seen.merges(), None) is not None

    def merged(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """Yields all pictures with what identical ones add."""
        merges = self._seen.merges()
        first, later = next(merges, (-1, []))
        for place, picture in zip(self._seen.places, pictures, strict=True):
            if place != first:
                yield picture
                continue
            yield self._with(picture, place, later)
            first, later = next(merges, (-1, []))

    def _with(self, picture: Picture, place: int, later: list[int]) -> Picture:
        """Returns a picture with the names of later files, and the labels that only they have."""
        header, candidates = header_of(picture), self._layout.candidates
        truth_of, predictions_of = self._seen.labelled_by(place)
        truth = predictions = None
        if truth_of != place:
            truth = self._intake.quiet_truth(candidates[truth_of], header)
        if predictions_of != place:
            predictions = self._intake.quiet_predictions(candidates[predictions_of], header)
        return replace(
            picture,
            names=(*picture.names, *(self._reader.name(candidates[other]) for other in later)),
            boxes=picture.boxes if truth is None else truth.boxes,
            tags=picture.tags if truth is None else truth.tags,
            predictions=picture.predictions if predictions is None else predictions.boxes,
        )

    def state(self) -> dict[str, Any]:
        """Returns what, with the pictures, their places and the merges, lets another importer go on from here."""
        return {"done": self.done, "report": self._report.state(), "mapped": self._intake.classes.counts}

    def flush(self) -> None:
        """Lets the worker have the blobs of all pictures that were yielded."""
        self._blobs.flush()

    def places(self) -> bytes:
        """Returns the place of each picture that was yielded among the candidates."""
        return self._seen.places.tobytes()

    def merges(self) -> bytes:
        """Returns which later files had the bytes of a picture that was yielded."""
        return self._seen.merges_to_bytes()

    def restore(self, state: Mapping[str, Any], *, digests: Iterable[bytes], places: bytes, merges: bytes) -> None:
        """Goes on where another importer of the same source was.

        Args:
            state: What it said.
            digests: Of the pictures that it had yielded.
            places: Theirs among the candidates.
            merges: What it said of identical files.

        Raises:
            ValueError, KeyError, TypeError, FormatError: This is no such state; nothing has changed.
        """
        done = int(state["done"])
        if not 0 < done <= len(self._layout.candidates):
            raise ValueError("the mark is of another source")
        mapped = {str(name): int(count) for name, count in state["mapped"].items()}
        self._seen.restore(digests, places=places, merges=merges, done=done)
        try:
            self._report.restore(state["report"])
        except Exception:
            self._seen.clear()
            raise
        self._intake.classes.counts.update(mapped)
        self.done = done

    def _take(self, candidate: Candidate) -> Picture | None:
        try:
            data = self._source.read(candidate.picture, limit=self._options.max_picture_bytes)
            header = probe_picture(data, max_pixels=self._options.max_pixels)
            if self._options.decode or (header.extension == "jpg" and header.bits != _JPEG_BITS):
                check_decodes(data)
            digest = hashlib.sha256(data)
            first = self._seen.first(digest.digest())
            derived = upright_copy(data, header) if first is None and needs_upright_copy(header) else None
        except FormatError as error:
            self._intake.refuse(candidate, error)
            return None
        truth, predictions = self._intake.truth(candidate, header), self._intake.predictions(candidate, header)
        if first is not None:
            self._merge(candidate, _Same(first, header), truth=truth, predictions=predictions)
            return None
        self._seen.add(digest.digest(), self.done - 1)
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

    def _merge(self, candidate: Candidate, same: "_Same", *, truth: Labels | None, predictions: Labels | None) -> None:
        first = self._layout.candidates[same.place]
        known_truth, known_predictions = self._known(same)
        new_truth = known_truth is None and truth is not None
        new_predictions = known_predictions is None and predictions is not None
        self._seen.merge(same.place, self.done - 1, truth=new_truth, predictions=new_predictions)
        self._report.file(PICTURES, MERGED)
        name = first.picture.name
        message = f"the same bytes as {name}"
        self._report.problem(candidate.picture.name, reason="IDENTICAL", message=message, outcome=MERGED)
        if new_truth:
            self._intake.count(candidate.truth, truth, kind=ANNOTATIONS, outcome=ACCEPTED)
        else:
            self._merge_labels(candidate.truth, truth, known_truth, name, kind=ANNOTATIONS)
        if new_predictions:
            self._intake.count(candidate.predictions, predictions, kind=PREDICTIONS, outcome=ACCEPTED)
        else:
            self._merge_labels(candidate.predictions, predictions, known_predictions, name, kind=PREDICTIONS)

    def _known(self, same: "_Same") -> tuple[Labels | None, Labels | None]:
        """Returns the labels that a picture has already: read once more, since identical pictures are rare."""
        truth_of, predictions_of = self._seen.labelled_by(same.place)
        candidates = self._layout.candidates
        return (
            self._intake.quiet_truth(candidates[truth_of], same.header),
            self._intake.quiet_predictions(candidates[predictions_of], same.header),
        )

    def _merge_labels(
        self, entry: Entry | None, labels: Labels | None, known: Labels | None, first: str, *, kind: str
    ) -> None:
        self._intake.count(entry, labels, kind=kind, outcome=MERGED)
        if labels is not None and known is not None and _stored(labels.boxes) != _stored(known.boxes):
            message = f"it differs from that of the identical picture {first}, which counts"
            self._report.problem(
                self._intake.name(entry, labels), reason="ANNOTATION_DIFFERS", message=message, outcome=NOTED
            )


@dataclass(frozen=True, slots=True)
class _Same:
    """The place of the first file of the same bytes, and the header of either."""

    place: int
    header: PictureHeader


def _stored(boxes: tuple[Box, ...]) -> list[Box]:
    """Returns boxes as the exchange form keeps them, in float32."""
    edges = np.array([(box.x, box.y, box.w, box.h) for box in boxes], dtype=np.float32).reshape(-1, 4).tolist()
    return [replace(box, x=x, y=y, w=w, h=h, score=None) for box, (x, y, w, h) in zip(boxes, edges, strict=True)]
