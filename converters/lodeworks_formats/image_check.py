"""What the check of an executor image found: one file from the worker to the controller."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum

from lodeworks_formats.errors import FormatError
from lodeworks_formats.manifest import canonical_json


class FindingOutcome(Enum):
    """What came of looking at one thing. Advice fails no image."""

    PASSED = "passed"
    FAILED = "failed"
    ADVICE = "advice"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Stable, such as ``training.result``.
        outcome: What came of it.
        seen: What was seen, in a sentence.
        advice: What to do, where something is to be done.
    """

    name: str
    outcome: FindingOutcome
    seen: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings on one image, in the order looked at."""

    image: str
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(one.outcome is not FindingOutcome.FAILED for one in self.findings)

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON."""
        findings = [{**asdict(one), "outcome": one.outcome.value} for one in self.findings]
        return canonical_json({"image": self.image, "findings": findings})

    @staticmethod
    def from_bytes(data: bytes) -> "CheckReport":
        """Reads it back; raises FormatError BAD_REPORT."""
        try:
            told = json.loads(data)
            findings = [
                Finding(str(one["name"]), FindingOutcome(one["outcome"]), str(one["seen"]), str(one["advice"]))
                for one in told["findings"]
            ]
            return CheckReport(str(told["image"]), findings)
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("BAD_REPORT", f"the report of the check cannot be read ({error})", "report") from error
