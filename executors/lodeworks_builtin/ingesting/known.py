"""Annotations for pictures that are there already: matched by name or digest, nothing but labels comes in."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader
from lodeworks_formats.pictures import Picture
from lodeworks_formats.segments import pictures_metadata, read_pictures
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.formats import TruthReader
from lodeworks_builtin.ingesting.intake import Intake
from lodeworks_builtin.ingesting.layout import Candidate
from lodeworks_builtin.ingesting.report import ANNOTATIONS, MERGED, PICTURES, PREDICTIONS, IngestReport
from lodeworks_builtin.ingesting.source import Entry, Source
from lodeworks_builtin.pace import Pace, Progress


@dataclass(slots=True)
class _File:
    """An annotation file, the name that it speaks of, and the pictures that have it (whole path, or base name)."""

    entry: Entry
    kind: str
    stem: str
    whole: list[str] = field(default_factory=list)
    leaf: list[str] = field(default_factory=list)


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

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Yields the pictures that get labels, with nothing else that is new about them."""
        self._intake.report_strays(orphans=False)
        given = self._match()
        every = (_stands_for(name) for known in read_pictures(self._view) for name in _names(known))
        self._reader.report_missing(self._report, every)
        total = pictures_metadata(self._view).count
        for known in Pace(total, progress=progress).through(read_pictures(self._view), what="labelling"):
            labelled = self._label(known, given.get(known.digest, {}))
            if labelled is not None:
                self._report.labelled = (self._report.labelled or 0) + 1
                yield labelled
        self._report.mapped = self._intake.classes.counts

    def _label(self, known: Picture, files: dict[str, Entry]) -> Picture | None:
        candidate = _stands_for(known.hash_name)
        candidate.truth, candidate.predictions = files.get(ANNOTATIONS), files.get(PREDICTIONS)
        swapped = known.orientation >= 5  # noqa: PLR2004 — these swap the sides
        stored = (known.height, known.width) if swapped else (known.width, known.height)
        header = PictureHeader(known.extension, *stored, known.orientation, known.channels)
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

    def _match(self) -> dict[str, dict[str, Entry]]:
        """Returns digest → kind → annotation file, and reports the files that nobody can use."""
        digests = self._digests_of_source()
        files = self._files()
        by_leaf: dict[str, list[_File]] = {}
        for file in files:
            by_leaf.setdefault(file.stem.rpartition("/")[2], []).append(file)
        given: dict[str, dict[str, Entry]] = {}
        for known in read_pictures(self._view):
            for candidate in digests.pop(known.digest, ()):
                self._report.file(PICTURES, MERGED)
                self._give(given, known.digest, ANNOTATIONS, candidate.truth)
                self._give(given, known.digest, PREDICTIONS, candidate.predictions)
            for stem in {known.digest, *(_stem(name) for name in known.names)}:
                for file in by_leaf.get(stem.rpartition("/")[2], ()):
                    same = stem in (file.stem, known.digest) or f"/{file.stem}".endswith(f"/{stem}")
                    (file.whole if same else file.leaf).append(known.digest)
        for candidate in (one for rest in digests.values() for one in rest):
            error = FormatError("NOT_IN_DATASET", "the dataset has no picture with these bytes")
            self._intake.refuse(candidate, error)
        for file in files:
            self._settle(given, file)
        return given

    def _settle(self, given: dict[str, dict[str, Entry]], file: _File) -> None:
        meant = sorted(set(file.whole or file.leaf))
        if len(meant) == 1:
            self._give(given, meant[0], file.kind, file.entry)
            return
        message = "the dataset has no picture of this name"
        reason = "ANNOTATION_WITHOUT_PICTURE"
        if meant:
            reason, message = "AMBIGUOUS_NAME", f"{len(meant)} pictures of the dataset have this name; use their paths"
        self._report.reject(file.kind, file.entry.name, reason=reason, message=message)

    def _give(self, given: dict[str, dict[str, Entry]], digest: str, kind: str, entry: Entry | None) -> None:
        if entry is None:
            return
        first = given.setdefault(digest, {}).setdefault(kind, entry)
        if first is not entry:
            message = f"{first.name} is for the same picture and counts"
            self._report.reject(kind, entry.name, reason="DUPLICATE_NAME", message=message)

    def _files(self) -> list[_File]:
        return [
            _File(entry, PREDICTIONS if predicted else ANNOTATIONS, stem)
            for entry, predicted, stem in self._reader.layout.orphans
        ]

    def _digests_of_source(self) -> dict[str, list[Candidate]]:
        """Returns the pictures in the source by their digests; those that cannot be read are reported."""
        found: dict[str, list[Candidate]] = {}
        for candidate in self._reader.layout.candidates:
            try:
                data = self._source.read(candidate.picture, limit=self._options.max_picture_bytes)
            except FormatError as error:
                self._intake.refuse(candidate, error)
                continue
            found.setdefault(hashlib.sha256(data).hexdigest(), []).append(candidate)
        return found


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and "/" not in suffix else name


def _names(known: Picture) -> tuple[str, ...]:
    return (*known.names, known.hash_name)


def _entry(name: str) -> Entry:
    return Entry(name, 0, None)


def _stands_for(name: str) -> Candidate:
    """Returns what a reader knows a picture by."""
    return Candidate(_entry(name), name, ("", _stem(name)))
