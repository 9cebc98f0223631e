"""Keeping datasets in order: tags, likeness, differences; what a person may ask, and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lodeworks_controller.errors import InvalidError

FARTHEST: Final = 7
"""The most bits that may differ between the perceptual hashes of pictures that are taken for alike."""

SIGNALS_VERSION: Final = 1
"""Of the algorithms that measure pictures; others are measured anew."""

_TAG_LENGTH: Final = 100
_TAGS_MANY: Final = 100


@dataclass(frozen=True, slots=True)
class TagChange:
    """Tags to add and to take away, of pictures or of their boxes (of some classes; none named = all)."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    boxes: bool = False
    classes: tuple[str, ...] = ()

    def check(self) -> "TagChange":
        """Returns the change with tags in order, each once; raises InvalidError TAG_INVALID."""
        for tag in (*self.add, *self.remove):
            if not tag or len(tag) > _TAG_LENGTH or tag != tag.strip() or not tag.isprintable():
                allowed = f"1 to {_TAG_LENGTH} printable characters without blanks around them"
                raise InvalidError("TAG_INVALID", f"the tag {tag!r} is not usable; give {allowed}", field="add")
        both = sorted(set(self.add) & set(self.remove))
        if both:
            message = f"the tag {both[0]!r} is both added and taken away; say one"
            raise InvalidError("TAG_INVALID", message, field="remove")
        if not self.add and not self.remove:
            raise InvalidError("TAG_INVALID", "name a tag to add or to take away", field="add")
        if len(self.add) > _TAGS_MANY:
            raise InvalidError("TAG_INVALID", f"add at most {_TAGS_MANY} tags at once", field="add")
        if self.classes and not self.boxes:
            raise InvalidError("TAG_INVALID", "classes choose among boxes; say that boxes are meant", field="boxes")
        return TagChange(tuple(sorted(set(self.add))), tuple(sorted(set(self.remove))), self.boxes, self.classes)

    def parameters(self) -> dict[str, Any]:
        """Returns what is said, as plain data."""
        said = {"add": list(self.add), "remove": list(self.remove), "boxes": self.boxes, "classes": list(self.classes)}
        return {name: value for name, value in said.items() if value}


def check_distance(distance: int) -> int:
    """Returns how many bits may differ, or raises InvalidError."""
    if not 0 <= distance <= FARTHEST:
        message = f"distance is {distance}; give 0 to {FARTHEST} bits, 3 for pictures that are nearly the same"
        raise InvalidError("SETTING_INVALID", message, field="distance")
    return distance


@dataclass(frozen=True, slots=True)
class PictureDifference:
    """A picture that two versions treat differently: added, removed, reannotated or retagged."""

    kind: str
    digest: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is different between two versions, in pictures."""

    added: int
    removed: int
    reannotated: int
    retagged: int
    unchanged: int
    shown: tuple[PictureDifference, ...]


@dataclass(frozen=True, slots=True)
class LeakCount:
    """How much two of several versions have in common; ``alike`` are pictures of the second, identical ones apart."""

    first: int
    second: int
    identical: int
    alike: int


@dataclass(frozen=True, slots=True)
class Leak:
    """A picture of one version that is, or looks like, one of another."""

    first: int
    second: int
    first_digest: str
    second_digest: str
    first_name: str
    second_name: str
    distance: int


@dataclass(frozen=True, slots=True)
class Leaks:
    """What versions share: counts for each two of them, and some of the pictures."""

    counts: tuple[LeakCount, ...]
    shown: tuple[Leak, ...]


def class_changes(before: Mapping[int, str], after: Mapping[int, str]) -> tuple[tuple[int, str, str], ...]:
    """Returns (rid, what it meant, what it means) for each raw class that changed its meaning; "" = nothing."""
    rids = sorted(before.keys() | after.keys())
    pairs = ((rid, before.get(rid, ""), after.get(rid, "")) for rid in rids)
    return tuple((rid, old, new) for rid, old, new in pairs if old != new)
