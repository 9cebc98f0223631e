"""What was measured so far, one line of JSON a point, so that a run that was ended goes on where it was."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mining_rounds.curves import Curve, Standing, standing

CHANCE = "random"
START = ""
"""Stands for a strategy where none has chosen yet: the first labelled pictures."""


@dataclass(frozen=True, slots=True)
class Point:
    """One training: after which round of which strategy, on how many labelled pictures, how good.

    Attributes:
        code: What the training and the choice depended on, as a digest.
        added: The pictures that the round chose.
        test_ap50: AP at IoU 0.5 of each class on the test pictures.
        mined: Pictures that the mining looked at, and its processor time.
    """

    set_name: str
    code: str
    seed: int
    strategy: str
    round: int
    labels: int
    map50: float
    test_ap50: Mapping[str, float]
    added: Sequence[str] = field(default_factory=tuple)
    mined: int = 0
    mining_s: float = 0.0
    training_s: float = 0.0

    @property
    def place(self) -> tuple[str, str, int, str, int]:
        """What there is one point of."""
        return self.set_name, self.code, self.seed, self.strategy, self.round


class Points:
    """The points of a folder; a line that was cut off by a kill is left out."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "points.jsonl"
        self._found: dict[tuple[str, str, int, str, int], Point] = {}
        for point in _read(self._path):
            self._found[point.place] = point

    def add(self, point: Point) -> None:
        """Keeps a point, on disk too."""
        self._found[point.place] = point
        with self._path.open("a") as file:
            # On a line of its own, even where a kill cut off the one before.
            file.write("\n" + json.dumps(asdict(point)) + "\n")

    def find(self, set_name: str, code: str, seed: int, strategy: str, number: int) -> Point | None:
        """Returns a point that was measured, by another run too."""
        return self._found.get((set_name, code, seed, strategy, number))

    def of(self, set_name: str, code: str, *, seeds: Iterable[int]) -> list[Point]:
        """Returns the points of one set."""
        wanted = set(seeds)
        return [p for p in self._found.values() if p.set_name == set_name and p.code == code and p.seed in wanted]


def curves_of(points: Iterable[Point], *, rounds: int) -> dict[str, dict[int, Curve]]:
    """Returns, by strategy and seed, the curves whose rounds are all there; all begin at the seed's first point."""
    first = {point.seed: point for point in points if point.strategy == START}
    later: dict[tuple[str, int], dict[int, float]] = {}
    for point in points:
        if point.strategy != START:
            later.setdefault((point.strategy, point.seed), {})[point.labels] = point.map50
    found: dict[str, dict[int, Curve]] = {}
    for (strategy, seed), curve in sorted(later.items()):
        if len(curve) == rounds and seed in first:
            found.setdefault(strategy, {})[seed] = {first[seed].labels: first[seed].map50, **curve}
    return found


def standings(points: Sequence[Point], *, rounds: int) -> list[Standing]:
    """Returns how each strategy stands, the best first; nothing without a whole curve of random."""
    curves = curves_of(points, rounds=rounds)
    chance = curves.get(CHANCE, {})
    found = []
    for strategy, own in curves.items():
        if set(own) & set(chance):
            minings = [point for point in points if point.strategy == strategy]
            ms = 1000 * sum(point.mining_s for point in minings) / max(1, sum(point.mined for point in minings))
            found.append(standing(strategy, own, chance=chance, processor_ms=ms))
    return sorted(found, key=lambda one: -one.area.mean)


def _read(path: Path) -> Iterator[Point]:
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield Point(**json.loads(line))
        except (ValueError, TypeError):
            continue
