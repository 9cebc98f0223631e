"""What format a source is in: found out from the names of its files, with the reason for the person who asks."""

from dataclasses import dataclass

from lodeworks_formats.errors import FormatError

from lodeworks_builtin.ingesting.layout import PICTURE_SUFFIXES
from lodeworks_builtin.ingesting.listing import Listing
from lodeworks_builtin.ingesting.source import Entry

FORMATS = ("voc", "coco", "yolo")
YOLO_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES_FILES = ("classes.txt", "obj.names")


@dataclass(frozen=True, slots=True)
class Recognised:
    """The format of a source and why it was taken for that."""

    format: str
    why: str


def recognise(listing: Listing, *, wanted: str) -> Recognised:
    """Returns the format that is wanted, or for `auto` the one that the files speak for.

    Raises:
        FormatError: UNKNOWN_FORMAT for a format that nobody knows.
    """
    if wanted != "auto":
        if wanted not in FORMATS:
            raise FormatError("UNKNOWN_FORMAT", f"format {wanted!r} is unknown; use auto, {', '.join(FORMATS)}")
        return Recognised(wanted, "it was asked for")
    signs = _signs(listing)
    if not signs:
        return Recognised("voc", "there are pictures and no annotations")
    (chosen, why), *others = signs.items()
    if others:
        why += f"; also there: {'; '.join(f'{text} ({name})' for name, text in others)}"
    return Recognised(chosen, why)


def leaf(entry: Entry) -> str:
    """Returns the last part of a name in lower case."""
    return entry.name.rpartition("/")[2].lower()


def _signs(listing: Listing) -> dict[str, str]:
    """Returns format → what speaks for it, the strongest first."""
    xml = labels = others = 0
    described = json = ""
    for entry in listing:
        if "__MACOSX" in entry.name:
            continue
        name = leaf(entry)
        xml += name.endswith(".xml")
        labels += name.endswith(".txt") and _is_label(entry.name, listing)
        if name in (*YOLO_FILES, *NAMES_FILES):
            described = described or entry.name
        if name.endswith(".json"):
            others += bool(json)
            json = json or entry.name
    signs = {}
    if xml:
        signs["voc"] = f"{xml} XML files"
    if described:
        signs["yolo"] = f"{described} beside {labels} label files"
    elif labels and not json:
        signs["yolo"] = f"{labels} text files in labels/ or named like pictures, and nothing that names the classes"
    if json:
        signs["coco"] = f"{json} and {others} more JSON files" if others else json
    return signs


def _is_label(name: str, listing: Listing) -> bool:
    """Says whether a text file lies in a folder `labels` or beside a picture of the same name."""
    if "labels" in name.lower().split("/")[:-1]:
        return True
    return any(ending in PICTURE_SUFFIXES for ending in listing.endings_of(name[:-4]))
