"""How the strategies stand, as a table for a terminal and for a page."""

from collections.abc import Sequence

from mining_rounds.curves import Standing
from mining_rounds.points import CHANCE

COLUMNS = ("strategy", "mean mAP50", "gain over random", "last mAP50", "labels for random's last", "mining CPU ms")


def rows(found: Sequence[Standing], *, labels: int) -> list[tuple[str, ...]]:
    """Returns how each strategy stands in words, the best first."""
    return [
        (
            one.strategy,
            str(one.area),
            "" if one.strategy == CHANCE else f"{one.gain.mean:+.3f} ± {one.gain.half:.3f}",
            str(one.final),
            f"more than {labels}" if one.labels is None else f"{one.labels:.0f} ({one.share:.0%})",
            f"{one.processor_ms:.2f}",
        )
        for one in found
    ]


def table(found: Sequence[Standing], *, labels: int) -> str:
    """Returns how each strategy stands for a terminal."""
    lines = [COLUMNS, *rows(found, labels=labels)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines)


def markdown(found: Sequence[Standing], *, labels: int) -> str:
    """Returns how each strategy stands for a page."""
    lines = [COLUMNS, ("---", *("---:",) * (len(COLUMNS) - 1)), *rows(found, labels=labels)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
