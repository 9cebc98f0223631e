"""One pass over the pictures of a source, and what identical files add to each other."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
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


class Importer:
    """One pass over the pictures of a source."""

    def __init__(
        self, source: Source, reader: TruthReader, *, blobs: BlobFolder, options: IngestOptions, report: IngestReport
    ) -> None:
        self.merges: dict[str, Merge] = {}
        self.done = 0
        self._source = source
        self._reader = reader
        self._layout = layout = reader.layout
        self._intake = Intake(source, reader, options=options, report=report)
        self._blobs = blobs
        self._options = options
        self._report = report
        self._first: dict[bytes, int] = {}  # digest → place of its first file among the candidates
        self._places = array("I")
        self._has_truth = reader.shared_name or any(candidate.truth for candidate in layout.candidates)

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Yields each different picture once, in the order of the source."""
        candidates = self._layout.candidates
        if not self.done:
            self._intake.report_strays()
            self._reader.report_missing(self._report, candidates)
        pace = Pace(len(candidates), progress=progress, done=self.done)
        for candidate in pace.through(islice(candidates, self.done, None), what="reading"):
            self.done += 1
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

    def state(self) -> dict[str, Any]:
        """Returns what, with the pictures, their places and the merges, lets another importer go on from here."""
        return {"done": self.done, "report": self._report.state(), "mapped": self._intake.classes.counts}

    def flush(self) -> None:
        """Lets the worker have the blobs of all pictures that were yielded."""
        self._blobs.flush()

    def places(self) -> bytes:
        """Returns the place of each picture that was yielded among the candidates."""
        return self._places.tobytes()

    def merge_rows(self) -> Iterator[Picture]:
        """Yields what identical files add, as pictures of which only names, labels and tags mean something."""
        for digest, merge in self.merges.items():
            yield Picture(
                digest=digest,
                extension="jpg",
                width=1,
                height=1,
                names=tuple(merge.names),
                tags=() if merge.truth is None else merge.truth.tags,
                boxes=None if merge.truth is None else merge.truth.boxes,
                predictions=None if merge.predictions is None else merge.predictions.boxes,
            )

    def restore(
        self, state: Mapping[str, Any], *, digests: Iterable[bytes], places: bytes, merges: Iterable[Picture]
    ) -> None:
        """Goes on where another importer of the same source was.

        Args:
            state: What it said.
            digests: Of the pictures that it had yielded.
            places: Theirs among the candidates.
            merges: What identical files had added.

        Raises:
            ValueError, KeyError, TypeError: This is no such state; nothing has changed.
        """
        at = array("I")
        at.frombytes(places)
        done, first = int(state["done"]), dict(zip(digests, at, strict=True))
        if not 0 < done <= len(self._layout.candidates) or any(place >= done for place in at):
            raise ValueError("the mark is of another source")
        found = {
            row.digest: Merge(list(row.names), _labels(row.boxes, row.tags), _labels(row.predictions)) for row in merges
        }
        mapped = {str(name): int(count) for name, count in state["mapped"].items()}
        self._report.restore(state["report"])
        self._intake.classes.counts.update(mapped)
        self._first, self._places, self.merges, self.done = first, at, found, done

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
            same = _Same(digest.hexdigest(), self._layout.candidates[first], header)
            self._merge(candidate, same, truth=truth, predictions=predictions)
            return None
        self._first[digest.digest()] = self.done - 1
        self._places.append(self.done - 1)
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
        known_truth, known_predictions = self._known(same)
        merge = self.merges.setdefault(same.digest, Merge())
        merge.names.append(self._reader.name(candidate))
        self._report.file(PICTURES, MERGED)
        message = f"the same bytes as {same.first.picture.name}"
        self._report.problem(candidate.picture.name, reason="IDENTICAL", message=message, outcome=MERGED)
        if known_truth is None and truth is not None:
            merge.truth = truth
            self._intake.count(candidate.truth, truth, kind=ANNOTATIONS, outcome=ACCEPTED)
        else:
            self._merge_labels(candidate.truth, truth, known_truth, same, kind=ANNOTATIONS)
        if known_predictions is None and predictions is not None:
            merge.predictions = predictions
            self._intake.count(candidate.predictions, predictions, kind=PREDICTIONS, outcome=ACCEPTED)
        else:
            self._merge_labels(candidate.predictions, predictions, known_predictions, same, kind=PREDICTIONS)

    def _known(self, same: "_Same") -> tuple[Labels | None, Labels | None]:
        """Returns the labels that a picture has already: read once more, since identical pictures are rare."""
        merge = self.merges.get(same.digest, Merge())
        return (
            merge.truth or self._intake.quiet_truth(same.first, same.header),
            merge.predictions or self._intake.quiet_predictions(same.first, same.header),
        )

    def _merge_labels(
        self, entry: Entry | None, labels: Labels | None, known: Labels | None, same: "_Same", *, kind: str
    ) -> None:
        self._intake.count(entry, labels, kind=kind, outcome=MERGED)
        if labels is not None and known is not None and _stored(labels.boxes) != _stored(known.boxes):
            message = f"it differs from that of the identical picture {same.first.picture.name}, which counts"
            self._report.problem(
                self._intake.name(entry, labels), reason="ANNOTATION_DIFFERS", message=message, outcome=NOTED
            )


@dataclass(frozen=True, slots=True)
class _Same:
    """The first file of the same bytes."""

    digest: str
    first: Candidate
    header: PictureHeader


def _labels(boxes: tuple[Box, ...] | None, tags: tuple[str, ...] = ()) -> Labels | None:
    return None if boxes is None else Labels(boxes, tags=tags)


def _stored(boxes: tuple[Box, ...]) -> list[Box]:
    """Returns boxes as the exchange form keeps them, in float32."""
    edges = np.array([(box.x, box.y, box.w, box.h) for box in boxes], dtype=np.float32).reshape(-1, 4).tolist()
    return [replace(box, x=x, y=y, w=w, h=h, score=None) for box, (x, y, w, h) in zip(boxes, edges, strict=True)]
