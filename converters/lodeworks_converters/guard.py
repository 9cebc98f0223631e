"""The accuracy guard: decides from numbers alone whether a variant may be shipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Below this a class of the reference was not found either: its zero is no news.
_ALIVE = 0.005


@dataclass(frozen=True, slots=True)
class GuardScores:
    """What was measured on the guard pictures: mAP50:95, mAP50, and mAP50:95 of each class that has ground truth."""

    map: float
    map50: float
    per_class: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a variant passes.

    `drop` is absolute mAP50:95 against the reference (negative when it gained), `class_drops` the same by class,
    `reason` None when it passes.
    """

    accepted: bool
    drop: float
    class_drops: Mapping[str, float]
    reason: str | None


def judge(reference: GuardScores, variant: GuardScores, *, max_drop: float) -> Verdict:
    """Returns the verdict on a variant against the fp32 reference of the same stage on the same pictures.

    A drop of more than `max_drop` refuses, and a class that the reference finds and the variant does not find at all
    refuses whatever the mean says.
    """
    drop = reference.map - variant.map
    class_drops = {name: score - variant.per_class.get(name, 0.0) for name, score in reference.per_class.items()}
    lost = [
        name
        for name, score in reference.per_class.items()
        if score >= _ALIVE and variant.per_class.get(name, 0.0) <= 0.0
    ]
    reason: str | None = None
    if lost:
        reason = f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} not found any more"
    elif not drop <= max_drop:
        reason = f"mAP50:95 drops by {drop:.4f}, more than {max_drop:.4f}"
    return Verdict(accepted=reason is None, drop=drop, class_drops=class_drops, reason=reason)


@dataclass(frozen=True, slots=True)
class TriedRow:
    """One row of the table of what was tried."""

    label: str
    scores: GuardScores
    verdict: Verdict


def table(rows: Sequence[TriedRow]) -> str:
    """Returns what was tried as aligned text, one line an attempt, with the worst class of each."""
    cells = [("tried", "mAP50:95", "mAP50", "drop", "worst class", "verdict")]
    for row in rows:
        worst = max(row.verdict.class_drops.items(), key=lambda item: item[1], default=("–", 0.0))
        cells.append(
            (
                row.label,
                f"{row.scores.map:.4f}",
                f"{row.scores.map50:.4f}",
                f"{row.verdict.drop:+.4f}",
                f"{worst[0]} {worst[1]:+.4f}",
                row.verdict.reason or "passes",
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
