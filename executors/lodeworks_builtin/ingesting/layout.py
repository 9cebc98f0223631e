"""Which file of a source is what: pictures, ground truth, predictions, splits; and which belong together.

Known: the manual's `images/ gt/ pred/ + meta.yaml`, the common `JPEGImages/ Annotations/ ImageSets/`, pictures and XML
side by side, each below any number of nested folders, several such trees beside each other.
"""

from collections.abc import Iterable, Mapping

from lodeworks_builtin.ingesting.index import Index
from lodeworks_builtin.ingesting.placed import Candidate, Layout
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

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders that say which part the pictures below them belong to."""

_JUNK = frozenset((".ds_store", "thumbs.db", "desktop.ini"))
_META = "meta.yaml"


def split_of_folders(name: str) -> str | None:
    """Returns the part that a folder on the way to a file names, the innermost first."""
    folders = name.lower().split("/")[-2::-1]
    return next((SPLIT_FOLDERS[folder] for folder in folders if folder in SPLIT_FOLDERS), None)


def layout_of(
    entries: Iterable[Entry], index: Index, *, folders: Mapping[str, str] = KNOWN_FOLDERS, suffix: str = ".xml"
) -> Layout:
    """Returns the layout of a source; nothing is read.

    Args:
        entries: Its files, sorted.
        index: Where their places are noted.
        folders: What lies in folders of which name.
        suffix: Of annotation files; "" where annotations are not one file per picture.
    """
    layout = Layout(index)
    index.execute("CREATE TABLE loose (name TEXT, size_bytes INTEGER, handle BLOB, root TEXT, stem TEXT, role TEXT)")
    for entry in entries:
        parts = entry.name.split("/")
        if _is_special(layout, entry, parts):
            continue
        role, root, rest = _place(parts, folders)
        stem, ending = _split_suffix(rest)
        if ending in PICTURE_SUFFIXES and role in (PICTURES, ""):
            layout.add_picture(Candidate(entry, rest, (root, stem)))
        elif suffix and ending == suffix and (role in (ANNOTATIONS, PREDICTIONS) or (not role and suffix == ".xml")):
            layout.add_label(entry, (root, stem), predicted=role == PREDICTIONS)
        elif ending == suffix == ".txt":
            index.execute("INSERT INTO loose VALUES (?, ?, ?, ?, ?, ?)", (*entry, root, stem, role))
        else:
            _leave_out(layout, entry, role, suffix)
        if role:
            layout.folders.add(entry.name.removesuffix(f"/{rest}"))
    for *entry_of, root, stem, role in index.execute("SELECT * FROM loose ORDER BY rowid"):
        # Outside of labels/ only the name of a picture beside them makes text files annotations.
        if layout.candidates.has((root, stem)):
            layout.add_label(Entry(*entry_of), (root, stem))
        else:
            _leave_out(layout, Entry(*entry_of), role, suffix)
    return layout


def _leave_out(layout: Layout, entry: Entry, role: str, suffix: str) -> None:
    if role:
        layout.add_stray(entry, "WRONG_FORMAT", f"a file among {role} must be {_wanted(role, suffix)}", kind=role)
    else:
        layout.others += 1


def _is_special(layout: Layout, entry: Entry, parts: list[str]) -> bool:
    leaf = parts[-1].lower()
    if leaf in _JUNK or leaf.startswith("._") or "__MACOSX" in parts[:-1]:
        layout.others += 1
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
