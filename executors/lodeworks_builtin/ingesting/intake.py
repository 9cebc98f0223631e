"""What every import does with the files of a source: labels read and counted, strays and rejects reported."""

from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.formats import TruthReader
from lodeworks_builtin.ingesting.labels import ClassNames, Labels, voc_predictions
from lodeworks_builtin.ingesting.meta import read_prediction_model
from lodeworks_builtin.ingesting.placed import Candidate
from lodeworks_builtin.ingesting.report import ACCEPTED, ANNOTATIONS, NOTED, PICTURES, PREDICTIONS, IngestReport
from lodeworks_builtin.ingesting.source import Entry, Source


class Intake:
    """Reads labels of a source and tells the report what became of each file."""

    def __init__(self, source: Source, reader: TruthReader, *, options: IngestOptions, report: IngestReport) -> None:
        self.classes = ClassNames(dict(options.class_map))
        self._source = source
        self._reader = reader
        self._layout = reader.layout
        self._report = report
        report.prediction_model = read_prediction_model(source, reader.layout, report)

    def report_strays(self, *, orphans: bool = True) -> None:
        """Reports every file that no picture brings along; annotations without a picture only with `orphans`."""
        if orphans:
            for entry, predicted, _ in self._layout.orphans():
                kind = PREDICTIONS if predicted else ANNOTATIONS
                message = "there is no picture of this name"
                self._report.reject(kind, entry.name, reason="ANNOTATION_WITHOUT_PICTURE", message=message)
        for reason, name, message, kind in self._layout.strays():
            self._report.reject(kind, name, reason=reason, message=message)
        self._report.other(self._layout.others)

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the ground truth of a picture, or None when there is none that can be used."""
        try:
            return self.classes.apply(self._reader.truth(candidate, header))
        except FormatError as error:
            name = self.name(candidate.truth)
            self._report.reject(ANNOTATIONS, name, reason=error.reason, message=error.message, line=error.line)
            return None

    def predictions(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the predictions on a picture, or None when there are none that can be used."""
        entry = candidate.predictions
        if entry is None:
            return None
        try:
            return self.classes.apply(voc_predictions(self._source.read(entry), header))
        except FormatError as error:
            self._report.reject(PREDICTIONS, entry.name, reason=error.reason, message=error.message, line=error.line)
            return None

    def quiet_truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns what `truth` returned before, and tells the report nothing."""
        try:
            return self.classes.apply(self._reader.truth(candidate, header), counted=False)
        except FormatError:
            return None

    def quiet_predictions(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns what `predictions` returned before, and tells the report nothing."""
        if candidate.predictions is None:
            return None
        try:
            found = voc_predictions(self._source.read(candidate.predictions), header)
            return self.classes.apply(found, counted=False)
        except FormatError:
            return None

    def name(self, entry: Entry | None, labels: Labels | None = None) -> str:
        """Returns the name of the file that labels come from."""
        if entry is not None:
            return entry.name
        return labels.file if labels is not None and labels.file else self._reader.shared_name

    def accept(self, candidate: Candidate, *, truth: Labels | None, predictions: Labels | None) -> None:
        """Counts the labels of a picture as accepted."""
        self.count(candidate.truth, truth, kind=ANNOTATIONS, outcome=ACCEPTED)
        self.count(candidate.predictions, predictions, kind=PREDICTIONS, outcome=ACCEPTED)

    def count(self, entry: Entry | None, labels: Labels | None, *, kind: str, outcome: str) -> None:
        """Counts the labels of one file under an outcome."""
        if labels is None:
            return
        if entry is not None:
            self._report.file(kind, outcome)
        name = self.name(entry, labels)
        self._report.labels(kind, name, labels.boxes, labels.problems, outcome=outcome)
        if labels.note:
            self._report.problem(name, reason="SIZE_DIFFERS", message=labels.note, outcome=NOTED)

    def refuse(self, candidate: Candidate, error: FormatError) -> None:
        """Reports a picture that cannot be used, and the annotations that it takes along."""
        self._report.reject(PICTURES, candidate.picture.name, reason=error.reason, message=error.message)
        for kind, entry in ((ANNOTATIONS, candidate.truth), (PREDICTIONS, candidate.predictions)):
            if entry is not None:
                message = f"its picture {candidate.picture.name} was rejected"
                self._report.reject(kind, entry.name, reason="PICTURE_REJECTED", message=message)
