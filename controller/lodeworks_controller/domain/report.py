"""Import reports: what became of every file and every box, with counts that add up.

The executor writes the report (``lodeworks_builtin.ingesting.report`` tells its shape); the controller believes it only
as far as it adds up and agrees with the exchange form, and then adds what it alone knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lodeworks_controller.errors import BadOutputError

_FILE = "report"
_TALLIES = ("pictures", "annotations", "predictions", "boxes", "predicted_boxes")
_OUTCOMES = ("accepted", "merged", "rejected")


@dataclass(frozen=True, slots=True)
class StoredReport:
    """Where the report of an import lies; ``version_id`` is None for a dry run."""

    task_id: str
    project_id: str
    version_id: str | None
    digest: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """The counts of a report that lists show."""

    files: int
    pictures_accepted: int
    pictures_merged: int
    annotations_accepted: int
    files_rejected: int
    files_other: int
    boxes_accepted: int
    boxes_rejected: int
    pictures_known: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that an import did not take, or took with a change (``taken``)."""

    file: str
    reason: str
    message: str
    taken: bool


def check_report(report: object) -> dict[str, Any]:
    """Returns the report if it has the shape and its counts add up; raises BadOutputError otherwise."""
    if not isinstance(report, dict):
        raise BadOutputError("the report is no JSON object", file=_FILE)
    for name in _TALLIES:
        _check_sum(report, name, _OUTCOMES)
    _check_sum(report, "files", (*_OUTCOMES, "other"))
    for outcome in _OUTCOMES:
        parts = sum(report[name][outcome] for name in ("pictures", "annotations", "predictions"))
        if parts != report["files"][outcome]:
            message = f"the report counts {report['files'][outcome]} files {outcome} and {parts} in its parts"
            raise BadOutputError(message, file=_FILE)
    return report


def check_agreement(
    report: Mapping[str, Any], *, pictures: int, annotated: int, boxes: int, predicted_boxes: int
) -> None:
    """Raises BadOutputError when the report counts other things than the exchange form holds."""
    told = {
        "pictures": (report.get("labelled", report["pictures"]["accepted"]), pictures),
        "annotated pictures": (report.get("annotated", annotated), annotated),
        "boxes": (report["boxes"]["accepted"], boxes),
        "predicted boxes": (report["predicted_boxes"]["accepted"], predicted_boxes),
    }
    for what, (said, found) in told.items():
        if said != found:
            raise BadOutputError(f"the report counts {said} {what}, the exchange form holds {found}", file=_FILE)


def complete_report(
    report: Mapping[str, Any],
    *,
    source: str,
    pictures_known: int,
    unknown_classes: Mapping[str, int],
    ignored_classes: Mapping[str, int],
    decision: str,
    dry_run: bool,
) -> dict[str, Any]:
    """Returns the report with what the controller knows: pictures it had, classes that mean nothing to the project."""
    return {
        **report,
        "source": source,
        "dry_run": dry_run,
        "pictures_known": pictures_known,
        "unknown_classes": {"decision": decision, "boxes": dict(sorted(unknown_classes.items()))},
        "ignored_classes": dict(sorted(ignored_classes.items())),
    }


def counts_of(report: Mapping[str, Any]) -> ImportCounts:
    """Returns the counts of a checked report."""
    return ImportCounts(
        files=report["files"]["total"],
        pictures_accepted=report["pictures"]["accepted"],
        pictures_merged=report["pictures"]["merged"],
        annotations_accepted=report["annotations"]["accepted"],
        files_rejected=report["files"]["rejected"],
        files_other=report["files"]["other"],
        boxes_accepted=report["boxes"]["accepted"],
        boxes_rejected=report["boxes"]["rejected"],
        pictures_known=report.get("pictures_known", 0),
    )


def rejections_of(report: Mapping[str, Any], *, limit: int) -> tuple[Rejection, ...]:
    """Returns the first rejections and notes, each with its place."""
    return tuple(
        Rejection(
            file=f"{problem['file']}:{problem['line']}" if problem.get("line") else str(problem["file"]),
            reason=str(problem["reason"]),
            message=str(problem["message"]),
            taken=problem.get("outcome") != "rejected",
        )
        for problem in report.get("problems", ())[:limit]
    )


def _check_sum(report: Mapping[str, Any], name: str, outcomes: tuple[str, ...]) -> None:
    tally = report.get(name)
    if not isinstance(tally, dict) or not all(_is_count(tally.get(key)) for key in ("total", *outcomes)):
        raise BadOutputError(f"the report does not count its {name}", file=_FILE)
    parts = sum(tally[outcome] for outcome in outcomes)
    if parts != tally["total"]:
        raise BadOutputError(f"the report counts {tally['total']} {name}, its parts add up to {parts}", file=_FILE)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
