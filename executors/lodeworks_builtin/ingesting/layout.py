"""Which file of a source is what: pictures, ground truth, predictions, splits; and which belong together.

Known: the manual's `images/ gt/ pred/ + meta.yaml`, the common `JPEGImages/ Annotations/ ImageSets/`, pictures and XML
side by side, each below any number of nested folders, several such trees beside each other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lodeworks_builtin.ingesting.report import ANNOTATIONS, PICTURES, PREDICTIONS
from lodeworks_builtin.ingesting.source import Entry

PICTURE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"))

KNOWN_FOLDERS = {
    "images": PICTURES,
    "jpegimages": PICTURES,
    "gt": ANNOTATIONS,
    "annotations": ANNOTATIONS,
    "pred": PREDICTIONS,
    "predictions": PREDICTIONS,
}
"""Folder names, in lower case, that say what lies in them."""

Key = tuple[str, str]
"""Root folder, and path below the role's folder without its suffix: what a picture and its annotation share."""

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders that say which part the pictures below them belong to."""

_JUNK = frozenset((".ds_store", "thumbs.db", "desktop.ini"))
_META = "meta.yaml"


@dataclass(slots=True)
class Candidate:
    """One picture file with the annotation files that go with it."""

    picture: Entry
    name: str
    key: Key
    truth: Entry | None = None
    predictions: Entry | None = None


def split_of_folders(name: str) -> str | None:
    """Returns the part that a folder on the way to a file names, the innermost first."""
    folders = name.lower().split("/")[-2::-1]
    return next((SPLIT_FOLDERS[folder] for folder in folders if folder in SPLIT_FOLDERS), None)


@dataclass(slots=True)
class Layout:
    """Everything in a source, each file in exactly one place; strays with what is wrong and their kind.

    Attributes:
        candidates: Pictures, in the order of their names.
        orphans: Annotations without a picture, whether they hold predictions, and the picture's path without suffix.
        misplaced: Files that stand among pictures or annotations and are neither.
        duplicates: Pictures whose name another picture has already.
        others: What nobody asked for: licences, read-me files, junk of file managers.
        splits: Lists of ImageSets/Main by name, which are read later.
        meta: Says which model made the predictions.
        folders: What was seen, for the report.
    """

    candidates: list[Candidate] = field(default_factory=list)
    orphans: list[tuple[Entry, bool, str]] = field(default_factory=list)
    misplaced: list[tuple[Entry, str, str]] = field(default_factory=list)
    duplicates: list[tuple[Entry, str, str]] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)
    splits: dict[str, list[tuple[str, Entry]]] = field(default_factory=dict)
    meta: Entry | None = None
    folders: set[str] = field(default_factory=set)


def layout_of(entries: Iterable[Entry], *, folders: Mapping[str, str] = KNOWN_FOLDERS, suffix: str = ".xml") -> Layout:
    """Returns the layout of a source; nothing is read.

    Args:
        entries: Its files, sorted.
        folders: What lies in folders of which name.
        suffix: Of annotation files; "" where annotations are not one file per picture.
    """
    layout = Layout()
    pictures: dict[Key, Candidate] = {}
    truths: dict[Key, Entry] = {}
    predictions: dict[Key, Entry] = {}
    loose: list[tuple[Entry, Key, str]] = []
    for entry in entries:
        parts = entry.name.split("/")
        if _is_special(layout, entry, parts):
            continue
        role, root, rest = _place(parts, folders)
        stem, ending = _split_suffix(rest)
        if ending in PICTURE_SUFFIXES and role in (PICTURES, ""):
            _add_picture(layout, pictures, Candidate(entry, rest, (root, stem)))
        elif suffix and ending == suffix and (role in (ANNOTATIONS, PREDICTIONS) or (not role and suffix == ".xml")):
            _add_annotation(layout, predictions if role == PREDICTIONS else truths, entry, (root, stem), role=role)
        elif ending == suffix == ".txt":
            loose.append((entry, (root, stem), role))
        elif role:
            layout.misplaced.append((entry, f"a file among {role} must be {_wanted(role, suffix)}", role))
        else:
            layout.others.append(entry)
        if role:
            layout.folders.add(entry.name.removesuffix(f"/{rest}"))
    _add_loose(layout, loose, pictures, truths)
    _pair(layout, pictures, truths, predictions)
    return layout


def _add_loose(
    layout: Layout, loose: list[tuple[Entry, Key, str]], pictures: dict[Key, Candidate], truths: dict[Key, Entry]
) -> None:
    """Places text files outside of labels/: only the name of a picture beside them makes them annotations."""
    for entry, key, role in loose:
        if key in pictures:
            _add_annotation(layout, truths, entry, key, role=ANNOTATIONS)
        elif role:
            layout.misplaced.append((entry, f"a file among {role} must be {_wanted(role, '.txt')}", role))
        else:
            layout.others.append(entry)


def _add_annotation(layout: Layout, found: dict[Key, Entry], entry: Entry, key: Key, *, role: str) -> None:
    if key in found:
        kind = PREDICTIONS if role == PREDICTIONS else ANNOTATIONS
        layout.duplicates.append((entry, f"another annotation has the name {key[1]}", kind))
    else:
        found[key] = entry


def _is_special(layout: Layout, entry: Entry, parts: list[str]) -> bool:
    leaf = parts[-1].lower()
    if leaf in _JUNK or leaf.startswith("._") or "__MACOSX" in parts[:-1]:
        layout.others.append(entry)
    elif leaf == _META and layout.meta is None:
        layout.meta = entry
    elif leaf.endswith(".txt") and [part.lower() for part in parts[-3:-1]] == ["imagesets", "main"]:
        layout.splits.setdefault("/".join(parts[:-3]), []).append((_split_suffix(parts[-1])[0], entry))
    else:
        return False
    return True


def _split_suffix(name: str) -> tuple[str, str]:
    """Returns a path without its suffix, and the suffix in lower case with its dot."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, f".{suffix.lower()}") if dot and stem and "/" not in suffix else (name, "")


def _place(parts: list[str], folders: Mapping[str, str]) -> tuple[str, str, str]:
    """Returns role, root folder and the path below the role's folder; the innermost known folder counts."""
    for index in range(len(parts) - 2, -1, -1):
        role = folders.get(parts[index].lower())
        if role:
            return role, "/".join(parts[:index]), "/".join(parts[index + 1 :])
    return "", "/".join(parts[:-1]), parts[-1]


def _wanted(role: str, suffix: str) -> str:
    return "a jpg, png, bmp, webp or tiff picture" if role == PICTURES else f"an annotation file ({suffix})"


def _add_picture(layout: Layout, pictures: dict[Key, Candidate], candidate: Candidate) -> None:
    if candidate.key in pictures:
        other = pictures[candidate.key].picture.name
        layout.duplicates.append(
            (candidate.picture, f"{other} has the same name; annotations could mean either", PICTURES)
        )
    else:
        pictures[candidate.key] = candidate
        layout.candidates.append(candidate)


def _pair(
    layout: Layout,
    pictures: dict[Key, Candidate],
    truths: dict[Key, Entry],
    predictions: dict[Key, Entry],
) -> None:
    for key, entry in truths.items():
        if key in pictures:
            pictures[key].truth = entry
        else:
            layout.orphans.append((entry, False, key[1]))
    for key, entry in predictions.items():
        if key in pictures:
            pictures[key].predictions = entry
        else:
            layout.orphans.append((entry, True, key[1]))
