"""Classes: what boxes are called in a project.

A *raw class* is a name exactly as some file spelled it, interned once per installation and never deleted; boxes keep
its ``rid``. A project's *class map* says what the raw names mean there. Each change makes a new revision and rewrites
no box: old versions follow, since names are resolved when they are read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lodeworks_controller.domain.ids import Ids
from lodeworks_controller.domain.reference import fold
from lodeworks_controller.errors import ConflictError, ExistsError, InvalidError, NotFoundError


@dataclass(frozen=True, slots=True)
class RawClass:
    """A class name exactly as it came, and its number in the installation."""

    rid: int
    name: str


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """A class of a project: its name, and the other names that mean it."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *self.aliases)

    def means(self, name: str) -> bool:
        """Says whether the name, in any spelling of letters, means this class."""
        return fold(name) in {fold(known) for known in self.names}


@dataclass(frozen=True, slots=True)
class ClassMap:
    """What raw names mean in a project, at one revision that never changes.

    ``ignored`` holds names that were decided to mean nothing: boxes of such a class are kept and not shown, so that a
    later revision can bring them back.
    """

    project_id: str
    revision: int
    classes: tuple[ObjectClass, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, in the order in which they were added."""
        return tuple(entry.name for entry in self.classes)

    def find(self, name: str) -> ObjectClass | None:
        """Returns the class that the name or alias means, if there is one."""
        return next((entry for entry in self.classes if entry.means(name)), None)

    def get(self, name: str) -> ObjectClass:
        """Returns the class that the name, alias or id means, or raises NotFoundError."""
        found = self.find(name) or next((entry for entry in self.classes if entry.id == name), None)
        if found is None:
            known = ", ".join(self.names) or "none yet"
            message = f"the project has no class {name!r}; it has: {known}"
            raise NotFoundError("CLASS_NOT_FOUND", message, name=name)
        return found

    def unknown(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns those of the names about which nothing is decided, in the order given; of equal ones the first."""
        decided = self._index().keys() | {fold(name) for name in self.ignored}
        fresh: dict[str, str] = {}
        for name in names:
            fresh.setdefault(fold(name), name)
        return tuple(name for folded, name in fresh.items() if folded not in decided)

    def meaningless(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns those of the names that mean no class, be it by decision, in the order given."""
        return replace(self, ignored=()).unknown(names)

    def resolve(self, raw: Iterable[RawClass]) -> dict[int, str]:
        """Returns rid → name of the class that it means here; raw classes without meaning are left out."""
        index = self._index()
        return {entry.rid: index[fold(entry.name)] for entry in raw if fold(entry.name) in index}

    def folded(self) -> tuple[str, ...]:
        """Returns all names and aliases in the form in which they are compared."""
        return tuple(self._index())

    def _index(self) -> dict[str, str]:
        return {fold(name): entry.name for entry in self.classes for name in entry.names}

    def _owners(self) -> dict[str, ObjectClass]:
        return {fold(name): entry for entry in self.classes for name in entry.names}

    def _next(self, classes: Sequence[ObjectClass], *, ignored: Sequence[str] | None = None) -> "ClassMap":
        """Returns the next revision; a name that means something is ignored no longer."""
        known = {fold(name) for entry in classes for name in entry.names}
        kept = tuple(name for name in (self.ignored if ignored is None else ignored) if fold(name) not in known)
        changed = replace(self, classes=tuple(classes), ignored=kept)
        return self if changed == self else replace(changed, revision=self.revision + 1)

    def add(self, names: Sequence[str], *, ids: Ids, aliases: Sequence[str] = ()) -> "ClassMap":
        """Returns a map with new classes; aliases go to the first of them."""
        if aliases and len(names) != 1:
            message = "aliases belong to one class; add the classes one by one"
            raise InvalidError("ALIAS_OF_MANY", message, field="aliases")
        classes = list(self.classes)
        taken = self._owners()
        for name in names:
            entry = ObjectClass(ids(), check_class_name(name), tuple(check_class_name(alias) for alias in aliases))
            _claim(taken, entry)
            classes.append(entry)
        return self._next(classes)

    def rename(self, name: str, new_name: str) -> "ClassMap":
        """Returns a map in which the class has a new name; the old one stays as an alias, so that labels follow."""
        entry, clean = self.get(name), check_class_name(new_name)
        other = self.find(clean)
        if other is not None and other.id != entry.id:
            message = f"{clean!r} already means {other.name!r}; merge the two instead"
            raise ExistsError("CLASS_EXISTS", message, name=clean)
        kept = tuple(dict.fromkeys(old for old in (*entry.aliases, entry.name) if fold(old) != fold(clean)))
        return self._replace(replace(entry, name=clean, aliases=kept))

    def alias(self, name: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> "ClassMap":
        """Returns a map in which the class has other aliases; a removed one means nothing from then on."""
        entry = self.get(name)
        gone = {fold(alias) for alias in remove}
        known = {fold(alias) for alias in entry.aliases}
        missing = [alias for alias in remove if fold(alias) not in known]
        if missing:
            raise NotFoundError("ALIAS_NOT_FOUND", f"{entry.name!r} has no alias {missing[0]!r}", name=missing[0])
        kept = tuple(alias for alias in entry.aliases if fold(alias) not in gone)
        known = {fold(name) for name in (entry.name, *kept)}
        fresh = {fold(clean): clean for clean in map(check_class_name, add) if fold(clean) not in known}
        changed = replace(entry, aliases=(*kept, *fresh.values()))
        _claim({folded: owner for folded, owner in self._owners().items() if owner.id != entry.id}, changed)
        return self._replace(changed)

    def merge(self, names: Sequence[str], *, into: str) -> "ClassMap":
        """Returns a map in which the names of some classes have become aliases of another."""
        target = self.get(into)
        sources = tuple(dict.fromkeys(entry for entry in map(self.get, names) if entry.id != target.id))
        aliases = (*target.aliases, *(name for entry in sources for name in entry.names))
        gone = {entry.id for entry in sources}
        merged = replace(target, aliases=aliases)
        rest = (entry for entry in self.classes if entry.id not in gone)
        return self._next([merged if entry.id == target.id else entry for entry in rest])

    def delete(self, name: str) -> "ClassMap":
        """Returns a map without the class; its names are ignored, its boxes kept."""
        entry = self.get(name)
        rest = [other for other in self.classes if other.id != entry.id]
        return self._next(rest, ignored=(*self.ignored, *entry.names))

    def ignore(self, names: Sequence[str]) -> "ClassMap":
        """Returns a map in which names of which nothing was known mean nothing, by decision."""
        return self._next(self.classes, ignored=(*self.ignored, *self.unknown(names)))

    def _replace(self, entry: ObjectClass) -> "ClassMap":
        return self._next([entry if other.id == entry.id else other for other in self.classes])


def check_class_name(name: str) -> str:
    """Returns a class name without blanks at its ends, or raises InvalidError; files have most marks, so they may."""
    clean = name.strip()
    if not clean or len(clean) > CLASS_NAME_LENGTH or not clean.isprintable() or "," in clean:
        allowed = f"1 to {CLASS_NAME_LENGTH} printable characters without a comma"
        message = f"the class name {name!r} is not usable; give {allowed}"
        raise InvalidError("NAME_INVALID", message, field="name")
    return clean


CLASS_NAME_LENGTH = 200


def _claim(taken: dict[str, ObjectClass], entry: ObjectClass) -> None:
    """Books the names of a class, or raises ExistsError when one is taken."""
    for name in entry.names:
        other = taken.setdefault(fold(name), entry)
        if other is not entry:
            message = f"{name!r} already means the class {other.name!r}; pick another name"
            raise ExistsError("CLASS_EXISTS", message, name=name)


@dataclass(frozen=True, slots=True)
class ClassSelection:
    """Which classes a task or an answer is about, in that order; None means all of the project's."""

    names: tuple[str, ...] | None = None

    def apply(self, class_map: ClassMap) -> tuple[str, ...]:
        """Returns the names as the map spells them, or raises NotFoundError or InvalidError."""
        if self.names is None:
            return class_map.names
        chosen = tuple(class_map.get(name).name for name in self.names)
        if len(set(chosen)) != len(chosen):
            raise InvalidError("CLASS_TWICE", f"a class is named twice in {', '.join(self.names)}", field="classes")
        return chosen


def require_nonempty(class_map: ClassMap) -> None:
    """Raises ConflictError while the project has no class."""
    if not class_map.classes:
        raise ConflictError("NO_CLASSES", "the project has no classes; add some with `lode class add NAME`")
