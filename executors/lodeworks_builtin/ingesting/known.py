"""Annotations for pictures that are there already: matched by name or digest, nothing but labels comes in."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import pictures_metadata, read_pictures
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.formats import TruthReader
from lodeworks_builtin.ingesting.intake import Intake
from lodeworks_builtin.ingesting.labels import header_of
from lodeworks_builtin.ingesting.matches import LabelFile, Matches
from lodeworks_builtin.ingesting.placed import Candidate
from lodeworks_builtin.ingesting.report import ANNOTATIONS, MERGED, PICTURES, PREDICTIONS, IngestReport
from lodeworks_builtin.ingesting.source import Entry, Source
from lodeworks_builtin.pace import Pace, Progress


class KnownPictures:
    """Gives pictures of a view the labels of a source.

    A file belongs to the picture whose digest it is named by, else whose path it has, else whose base name it has if
    no other picture has that. Pictures in the source only say by their bytes which ones are meant.
    """

    def __init__(
        self, source: Source, reader: TruthReader, *, view: Path, options: IngestOptions, report: IngestReport
    ) -> None:
        self._source = source
        self._reader = reader
        self._view = view
        self._options = options
        self._report = report
        self._intake = Intake(source, reader, options=options, report=report)
        self._matches = Matches(reader.layout.index)

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Yields the pictures that get labels, with nothing else that is new about them."""
        self._intake.report_strays(orphans=False)
        self._match()
        every = (_stands_for(name) for known in read_pictures(self._view) for name in _names(known))
        self._reader.report_missing(self._report, every)
        total = pictures_metadata(self._view).count
        for known in Pace(total, progress=progress).through(read_pictures(self._view), what="labelling"):
            labelled = self._label(known, self._matches.given(known.digest))
            if labelled is not None:
                self._report.labelled = (self._report.labelled or 0) + 1
                yield labelled
        self._report.mapped = self._intake.classes.counts

    def _label(self, known: Picture, files: dict[str, Entry]) -> Picture | None:
        candidate = _stands_for(known.hash_name)
        candidate.truth, candidate.predictions = files.get(ANNOTATIONS), files.get(PREDICTIONS)
        header = header_of(known)
        predictions = self._intake.predictions(candidate, header)
        names = _names(known) if self._reader.shared_name else (known.hash_name,)
        found = (self._intake.truth(replace(candidate, picture=_entry(name), name=name), header) for name in names)
        truth = next((labels for labels in found if labels is not None), None)
        if truth is None and predictions is None:
            return None
        self._intake.accept(candidate, truth=truth, predictions=predictions)
        return replace(
            known,
            names=(),
            tags=known.tags if truth is None else tuple(dict.fromkeys((*known.tags, *truth.tags))),
            boxes=None if truth is None else truth.boxes,
            predictions=None if predictions is None else predictions.boxes,
        )

    def _match(self) -> None:
        """Finds out which files are for which picture, and reports those that nobody can use."""
        matches, candidates = self._matches, self._reader.layout.candidates
        matches.add_files(self._reader.layout.orphans())
        self._read_digests()
        for known in read_pictures(self._view):
            for place in matches.take(known.digest):
                self._report.file(PICTURES, MERGED)
                candidate = candidates[place]
                self._give(known.digest, ANNOTATIONS, candidate.truth)
                self._give(known.digest, PREDICTIONS, candidate.predictions)
            for stem in sorted({known.digest, *(_stem(name) for name in known.names)}):
                matches.offer(stem, known.digest)
        for place in matches.left():
            error = FormatError("NOT_IN_DATASET", "the dataset has no picture with these bytes")
            self._intake.refuse(candidates[place], error)
        for file in matches.files():
            self._settle(file)

    def _settle(self, file: LabelFile) -> None:
        if file.pictures == 1:
            self._give(file.digest, file.kind, file.entry)
            return
        message = "the dataset has no picture of this name"
        reason = "ANNOTATION_WITHOUT_PICTURE"
        if file.pictures:
            message = f"{file.pictures} pictures of the dataset have this name; use their paths"
            reason = "AMBIGUOUS_NAME"
        self._report.reject(file.kind, file.entry.name, reason=reason, message=message)

    def _give(self, digest: str, kind: str, entry: Entry | None) -> None:
        first = None if entry is None else self._matches.give(digest, kind, entry)
        if entry is not None and first is not None:
            message = f"{first} is for the same picture and counts"
            self._report.reject(kind, entry.name, reason="DUPLICATE_NAME", message=message)

    def _read_digests(self) -> None:
        """Reads the pictures in the source, which say by their bytes whose labels go along; reports bad ones."""
        for place, candidate in enumerate(self._reader.layout.candidates):
            try:
                data = self._source.read(candidate.picture, limit=self._options.max_picture_bytes)
            except FormatError as error:
                self._intake.refuse(candidate, error)
                continue
            self._matches.add_picture(hashlib.sha256(data).hexdigest(), place)


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and "/" not in suffix else name


def _names(known: Picture) -> tuple[str, ...]:
    return (*known.names, known.hash_name)


def _entry(name: str) -> Entry:
    return Entry(name, 0, b"")


def _stands_for(name: str) -> Candidate:
    """Returns what a reader knows a picture by."""
    return Candidate(_entry(name), name, ("", _stem(name)))
