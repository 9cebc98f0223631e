"""How the rounds go on each set: sizes, budgets, and the settings of each training."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The rounds on one set.

    Attributes:
        name: Of the set.
        seeds: One repetition each: other pictures (or another split), another first set, another training.
        pool, val, test: How many pictures there are to choose from, to validate and to measure on.
        side: Pixels of a made picture's side; 0 for a set that has its own.
        shares: How often each class comes among a made pool's things.
        empty: Which part of a made pool's pictures holds nothing but look-alikes, if anything.
        first: Labelled pictures before any mining.
        of_each: So many of them at least hold each class: who wants a class has examples of it.
        budget: Pictures that each round adds.
        rounds: How many rounds of mining.
        passes: Pictures that an epoch shows, however few are labelled: so each training has as many steps.
        settings: Of the detector.
        detector: Its code, as a digest: what another one learned is not taken up.
    """

    name: str
    seeds: tuple[int, ...]
    pool: int
    val: int
    test: int
    side: int = 0
    shares: tuple[float, ...] = ()
    empty: float = 0.0
    first: int
    of_each: int = 0
    budget: int
    rounds: int
    passes: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    detector: str = ""

    @property
    def labels(self) -> list[int]:
        """How many pictures are labelled after each round, the first set at its head."""
        return [self.first + self.budget * number for number in range(self.rounds + 1)]

    @property
    def key(self) -> str:
        """What a training depends on beside its pictures, as a short digest; the seeds are not in it."""
        facts = {name: value for name, value in asdict(self).items() if name not in ("seeds", "rounds")}
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


SMALL = {
    "model_width": 0.5,
    "batch_size": 8,
    "threads": 1,
    "precision": "float32",
    "keep_stages": 1,
    "checkpoint_interval_s": 1e9,
    "patience": 1000,
    "cache_mb": 400,
}

MADE = Plan(
    name="made",
    seeds=(1, 2, 3, 4, 5),
    pool=1000,
    val=100,
    test=300,
    side=64,
    shares=(0.52, 0.4, 0.04, 0.04),
    empty=0.45,
    first=40,
    of_each=4,
    budget=40,
    rounds=4,
    passes=480,
    settings=SMALL | {"epochs": 5, "input_size": "64"},
)

BCCD = Plan(
    name="bccd",
    seeds=(1, 2, 3),
    pool=252,
    val=40,
    test=72,
    first=16,
    of_each=2,
    budget=16,
    rounds=3,
    passes=320,
    settings=SMALL | {"epochs": 5, "input_size": "128x160"},
)

QUICK = Plan(
    name="made",
    seeds=(1, 2),
    pool=60,
    val=8,
    test=16,
    side=64,
    shares=(0.3, 0.3, 0.2, 0.2),
    empty=0.2,
    first=12,
    of_each=1,
    budget=4,
    rounds=1,
    passes=24,
    settings=SMALL | {"epochs": 1, "input_size": "64"},
)


def code_digest(package: ModuleType) -> str:
    """Returns a short digest of the code of a package, without the packages in it."""
    code = sha256()
    for folder in package.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            code.update(path.read_bytes())
    return code.hexdigest()[:12]
