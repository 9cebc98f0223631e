"""Import reports: what became of every file and every box, with counts that add up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from lodeworks_controller.errors import BadOutputError


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that was wrong, where it was found, and what became of it (rejected, dropped, clipped, …)."""

    reason: str
    file: str
    message: str = ""
    outcome: str = "rejected"
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of one sort were found and what became of them; the parts add up to ``found``."""

    found: int = 0
    accepted: int = 0
    merged: int = 0
    rejected: int = 0
    ignored: int = 0

    def check(self, what: str) -> None:
        """Raises BadOutputError when the parts do not add up."""
        parts = self.accepted + self.merged + self.rejected + self.ignored
        if min(self.found, self.accepted, self.merged, self.rejected, self.ignored) < 0 or parts != self.found:
            message = f"the report counts {self.found} {what}, but its parts add up to {parts}"
            raise BadOutputError(message, file="report")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The whole report. ``issues`` names single cases; ``reasons`` counts all of them by reason."""

    format: str
    pictures: Tally
    annotations: Tally
    boxes: Tally
    other_files: int = 0
    classes: Mapping[str, int] | None = None
    reasons: Mapping[str, int] | None = None
    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises BadOutputError when something does not add up."""
        self.pictures.check("pictures")
        self.annotations.check("annotations")
        self.boxes.check("boxes")
        counted = Counter(issue.reason for issue in self.issues)
        for reason, count in counted.items():
            if count > (self.reasons or {}).get(reason, 0):
                message = f"the report names {count} cases of {reason} and counts {(self.reasons or {}).get(reason, 0)}"
                raise BadOutputError(message, file="report")

    def with_ignored(self, classes: Mapping[str, int]) -> "ImportReport":
        """Returns the report after the boxes of some classes turned out to be ignored in the project."""
        count = sum(classes.values())
        if not count:
            return self
        issues = tuple(
            Issue("unknown_class", "", f"{boxes} boxes of class {name!r} are kept but not shown", "ignored")
            for name, boxes in sorted(classes.items())
        )
        tally = replace(self.boxes, accepted=self.boxes.accepted - count, ignored=self.boxes.ignored + count)
        reasons = Counter(self.reasons or {})
        reasons["unknown_class"] += max(count, len(issues))
        return replace(self, boxes=tally, issues=(*self.issues, *issues), reasons=dict(reasons))

    def to_json(self) -> dict[str, Any]:
        """Returns plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "ImportReport":
        """Returns the report that to_json wrote."""
        return ImportReport(
            format=data["format"],
            pictures=Tally(**data["pictures"]),
            annotations=Tally(**data["annotations"]),
            boxes=Tally(**data["boxes"]),
            other_files=data.get("other_files", 0),
            classes=data.get("classes"),
            reasons=data.get("reasons"),
            issues=tuple(Issue(**issue) for issue in data.get("issues", ())),
            notes=tuple(data.get("notes", ())),
        )


def count_reasons(issues: Iterable[Issue]) -> dict[str, int]:
    """Returns how often each reason occurs."""
    return dict(sorted(Counter(issue.reason for issue in issues).items()))


@dataclass(frozen=True, slots=True)
class StoredReport:
    """Where the report of an import lies; ``version_id`` is None for a dry run."""

    task_id: str
    project_id: str
    version_id: str | None
    digest: str
    created_at: datetime
