"""Operations: what a person may ask of versions, checked, and recorded so that it can be repeated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from lodeworks_controller.domain.curation import check_distance
from lodeworks_controller.domain.expression import (
    All,
    Annotated,
    AnyOf,
    Compare,
    Condition,
    HasClass,
    HasTag,
    Not,
    parse_condition,
)
from lodeworks_controller.domain.outcome import PredictionFilter
from lodeworks_controller.domain.reference import check_name
from lodeworks_controller.errors import InvalidError

SEED_LIMIT = 2**63
_SHARES_FEW, _SHARES_MANY = 2, 20


class Conflict(Enum):
    """Whose annotation wins when a picture is annotated differently on both sides of a merge."""

    NEWEST = "newest"
    HOST = "host"
    GUEST = "guest"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which pictures to keep. All that is said must hold; of several classes or tags, one is enough."""

    classes: tuple[str, ...] = ()
    without_classes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    annotated: bool | None = None
    min_boxes: int = 0
    min_width: int = 0
    min_height: int = 0
    expression: str = ""
    predictions: PredictionFilter | None = None

    def condition(self) -> Condition:
        """Returns what it says as one condition, or raises InvalidError when it says nothing."""
        parts: list[Condition] = []
        if self.classes:
            parts.append(AnyOf(tuple(map(HasClass, self.classes))))
        if self.tags:
            parts.append(AnyOf(tuple(map(HasTag, self.tags))))
        parts.extend(Not(HasClass(name)) for name in self.without_classes)
        for measure in ("boxes", "width", "height"):
            least = getattr(self, f"min_{measure}")
            if least < 0:
                raise InvalidError("FILTER_INVALID", f"min_{measure} is {least}; give 0 or more", field="filter")
            if least:
                parts.append(Compare(measure, ">=", least))
        if self.annotated is not None:
            parts.append(Annotated() if self.annotated else Not(Annotated()))
        if self.expression.strip():
            parts.append(parse_condition(self.expression))
        if self.predictions is not None:
            parts.append(self.predictions.condition())
        if not parts:
            message = "the filter says nothing; name a class, a tag, a size, an expression or an outcome"
            raise InvalidError("FILTER_INVALID", message, field="filter")
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def about(self, prediction_set: str) -> "Filter":
        """Returns the same filter, its question about predictions put to a set by its id."""
        if self.predictions is None:
            return self
        return replace(self, predictions=self.predictions.resolved(prediction_set))

    def parameters(self) -> dict[str, Any]:
        """Returns what is said, as plain data."""
        said = {name: getattr(self, name) for name in self.__slots__}
        if self.predictions is not None:
            said["predictions"] = self.predictions.parameters()
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
        return {name: value for name, value in plain.items() if value not in (None, [], "", 0) or value is False}


@dataclass(frozen=True, slots=True)
class Sample:
    """How many pictures to draw: a count, or a share between 0 and 1."""

    count: int | None = None
    share: float | None = None

    def size_of(self, pictures: int) -> int:
        """Returns how many of so many pictures are drawn; all, when more are asked for than there are."""
        if (self.count is None) == (self.share is None):
            raise InvalidError("SAMPLE_INVALID", "give either a count or a share, not both", field="count")
        if self.count is not None:
            if self.count < 1:
                raise InvalidError("SAMPLE_INVALID", f"count is {self.count}; draw at least one", field="count")
            return min(self.count, pictures)
        assert self.share is not None
        if not 0 < self.share <= 1:
            raise InvalidError(
                "SAMPLE_INVALID", f"share is {self.share:g}; give more than 0 and at most 1", field="share"
            )
        return min(pictures, max(1, round(self.share * pictures))) if pictures else 0


@dataclass(frozen=True, slots=True)
class Split:
    """Into which datasets, and how much of the whole each gets; the shares are taken as parts of their sum.

    Stratified, each class gets its share in every part. With a ``distance``, pictures whose perceptual hashes differ in
    at most so many bits stay together.
    """

    shares: Mapping[str, float]
    stratified: bool = False
    distance: int | None = None

    def check(self) -> "Split":
        """Returns the split with names in normal form, or raises InvalidError."""
        if not _SHARES_FEW <= len(self.shares) <= _SHARES_MANY:
            wanted = f"{_SHARES_FEW} to {_SHARES_MANY} parts, as in train=80,val=20"
            message = f"a split needs {wanted}; it has {len(self.shares)}"
            raise InvalidError("SPLIT_INVALID", message, field="shares")
        for name, share in self.shares.items():
            if not 0 < share < float("inf"):
                raise InvalidError(
                    "SPLIT_INVALID", f"the share of {name} is {share:g}; give more than 0", field="shares"
                )
        clean = {check_name(name, field="shares"): float(share) for name, share in self.shares.items()}
        if len(clean) != len(self.shares):
            raise InvalidError("SPLIT_INVALID", "two parts have the same name; name each part once", field="shares")
        if self.distance is not None:
            check_distance(self.distance)
        return replace(self, shares=clean)

    def parameters(self) -> dict[str, Any]:
        """Returns what is said, as plain data."""
        said: dict[str, Any] = {"shares": dict(self.shares)}
        if self.stratified:
            said["stratified"] = True
        return said if self.distance is None else {**said, "distance": self.distance}

    def sizes(self, pictures: int) -> tuple[int, ...]:
        """Returns how many pictures each part gets: largest remainders, nobody empty while there are enough."""
        total = sum(self.shares.values())
        exact = [share / total * pictures for share in self.shares.values()]
        sizes = [int(part) for part in exact]
        order = sorted(range(len(exact)), key=lambda index: (sizes[index] - exact[index], index))
        for index in order[: pictures - sum(sizes)]:
            sizes[index] += 1
        if pictures >= len(sizes):
            while 0 in sizes:
                sizes[sizes.index(max(sizes))] -= 1
                sizes[sizes.index(0)] += 1
        return tuple(sizes)


def check_seed(seed: int) -> int:
    """Returns the seed, or raises InvalidError."""
    if not 0 <= seed < SEED_LIMIT:
        raise InvalidError("SETTING_INVALID", f"seed is {seed}; give a number from 0 to 2^63-1", field="seed")
    return seed
