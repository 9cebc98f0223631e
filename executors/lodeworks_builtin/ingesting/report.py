"""The report of an import, whose counts add up: every file is accepted, merged, rejected or not ours.

Shape of the JSON:

    files, pictures, annotations, predictions: {total, accepted, merged, rejected} (files also: other)
    boxes, predicted_boxes: {total, accepted, merged, rejected, clipped}      total = accepted + merged + rejected
    format, recognised: the format and what spoke for it     mapped: {name in the source: boxes renamed or left out}
    reasons: {REASON: n}     classes, predicted_classes: {exact name: boxes}    annotated: pictures with ground truth
    labelled: pictures that were there and got labels, only in imports of annotations
    problems: [{file, line, reason, message, outcome, class_name, edges}]
        the first of them, at most MAX_PROBLEMS with MAX_PROBLEM_BYTES
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lodeworks_formats.annotations.frame import BoxProblem
from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import canonical_json

MAX_PROBLEMS = 10_000
MAX_PROBLEM_BYTES = 3_000_000  # a report travels in one message of at most 4 MiB

ACCEPTED, MERGED, REJECTED, OTHER = "accepted", "merged", "rejected", "other"
CLIPPED, NOTED = "clipped", "noted"
PICTURES, ANNOTATIONS, PREDICTIONS = "pictures", "annotations", "predictions"

_BOXES = {ANNOTATIONS: "boxes", PREDICTIONS: "predicted_boxes"}
_CLASSES = {ANNOTATIONS: "classes", PREDICTIONS: "predicted_classes"}


@dataclass(slots=True)
class IngestReport:
    """Counts outcomes while an import runs; memory does not grow with it beyond MAX_PROBLEMS."""

    format: str
    why: str = ""
    seen: Sequence[str] = ()
    mapped: Mapping[str, int] = field(default_factory=dict)
    labelled: int | None = None
    annotated: int = 0
    predicted: int = 0
    size_bytes: int = 0
    prediction_model: dict[str, Any] | None = None
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, Any]] = field(default_factory=list)
    problem_bytes: int = 0
    problems_left_out: int = 0

    def file(self, kind: str, outcome: str) -> None:
        """Counts a file (kind pictures, annotations or predictions) under its outcome."""
        self.counts.setdefault(kind, Counter())[outcome] += 1

    def other(self, count: int = 1) -> None:
        """Counts files that are none of an import's business."""
        self.counts.setdefault("files", Counter())[OTHER] += count

    def reject(self, kind: str, file: str, *, reason: str, message: str, line: int | None = None) -> None:
        """Counts a file as rejected and names it."""
        self.file(kind, REJECTED)
        self.problem(file, reason=reason, message=message, outcome=REJECTED, line=line)

    def labels(
        self, kind: str, file: str, boxes: Sequence[Box], problems: Iterable[BoxProblem], *, outcome: str
    ) -> None:
        """Counts the boxes of one picture, and names those left out or clipped.

        Args:
            kind: annotations or predictions.
            file: The name of the file that they come from.
            boxes: What it brings.
            problems: What was wrong with others.
            outcome: accepted, or merged with those of an identical picture.
        """
        counter = self.counts.setdefault(_BOXES[kind], Counter())
        counter[outcome] += len(boxes)
        if outcome == ACCEPTED:
            self.annotated += kind == ANNOTATIONS
            self.predicted += kind == PREDICTIONS
            self.counts.setdefault(_CLASSES[kind], Counter()).update(box.class_name for box in boxes)
        for found in problems:
            fate = REJECTED if found.fatal else CLIPPED
            counter[fate] += 1
            self.problem(
                file,
                reason=found.reason,
                message=found.message,
                outcome=fate,
                line=found.line,
                class_name=found.class_name,
                edges=list(found.edges),
            )

    def stray_boxes(self, file: str, problems: Iterable[BoxProblem], *, unread: int = 0) -> None:
        """Counts boxes of pictures that are not there as rejected, and names those that need a name of their own."""
        counter = self.counts.setdefault(_BOXES[ANNOTATIONS], Counter())
        counter[REJECTED] += unread
        for found in problems:
            counter[REJECTED] += 1
            self.problem(file, reason=found.reason, message=found.message, outcome=REJECTED)

    def problem(self, file: str, *, reason: str, message: str, outcome: str, **more: Any) -> None:
        """Counts a reason and keeps its details while there is room."""
        self.reasons[reason] += 1
        entry = {"file": file, "reason": reason, "message": message, "outcome": outcome}
        entry |= {key: value for key, value in more.items() if value not in (None, "", [])}
        if not self.problems_left_out and len(self.problems) < MAX_PROBLEMS:
            self.problem_bytes += len(canonical_json(entry)) + 1
            if self.problem_bytes <= MAX_PROBLEM_BYTES:
                self.problems.append(entry)
                return
        self.problems_left_out += 1

    def state(self) -> dict[str, Any]:
        """Returns all of it as JSON has it, to go on from."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Becomes what another report was. Raises KeyError or TypeError where this is none."""
        values = {field.name: state[field.name] for field in fields(self)}
        values["counts"] = {kind: Counter(outcomes) for kind, outcomes in values["counts"].items()}
        values["reasons"] = Counter(values["reasons"])
        for name, value in values.items():
            setattr(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """Returns the report with its totals."""
        kinds = {
            kind: self._totals(kind, (ACCEPTED, MERGED, REJECTED)) for kind in (PICTURES, ANNOTATIONS, PREDICTIONS)
        }
        files = {key: sum(kind[key] for kind in kinds.values()) for key in ("total", ACCEPTED, MERGED, REJECTED)}
        files[OTHER] = self.counts.get("files", Counter())[OTHER]
        files["total"] += files[OTHER]
        boxes = {
            name: self._totals(name, (ACCEPTED, MERGED, REJECTED))
            | {CLIPPED: self.counts.get(name, Counter())[CLIPPED]}
            for name in _BOXES.values()
        }
        return {
            "report_version": 1,
            "format": self.format,
            "recognised": self.why,
            "mapped": dict(sorted(self.mapped.items())),
            "seen": list(self.seen),
            "files": files,
            **kinds,
            **boxes,
            **{name: dict(sorted(self.counts.get(name, Counter()).items())) for name in _CLASSES.values()},
            **({} if self.labelled is None else {"labelled": self.labelled}),
            "annotated": self.annotated,
            "predicted": self.predicted,
            "size_bytes": self.size_bytes,
            "prediction_model": self.prediction_model,
            "reasons": dict(sorted(self.reasons.items())),
            "problems": self.problems,
            "problems_left_out": self.problems_left_out,
        }

    def to_bytes(self) -> bytes:
        """Returns canonical JSON."""
        return canonical_json(self.to_json())

    def _totals(self, name: str, outcomes: Sequence[str]) -> dict[str, int]:
        counter = self.counts.get(name, Counter())
        values = {outcome: counter[outcome] for outcome in outcomes}
        return {"total": sum(values.values()), **values}
