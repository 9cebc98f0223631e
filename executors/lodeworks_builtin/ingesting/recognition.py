"""What format a source is in: found out from the names of its files, with the reason for the person who asks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lodeworks_formats.errors import FormatError

from lodeworks_builtin.ingesting.layout import PICTURE_SUFFIXES
from lodeworks_builtin.ingesting.source import Entry

FORMATS = ("voc", "coco", "yolo")
YOLO_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES_FILES = ("classes.txt", "obj.names")


@dataclass(frozen=True, slots=True)
class Recognised:
    """The format of a source and why it was taken for that."""

    format: str
    why: str


def recognise(entries: Sequence[Entry], *, wanted: str) -> Recognised:
    """Returns the format that is wanted, or for `auto` the one that the files speak for.

    Raises:
        FormatError: UNKNOWN_FORMAT for a format that nobody knows.
    """
    if wanted != "auto":
        if wanted not in FORMATS:
            raise FormatError("UNKNOWN_FORMAT", f"format {wanted!r} is unknown; use auto, {', '.join(FORMATS)}")
        return Recognised(wanted, "it was asked for")
    signs = _signs(entries)
    if not signs:
        return Recognised("voc", "there are pictures and no annotations")
    (chosen, why), *others = signs.items()
    if others:
        why += f"; also there: {'; '.join(f'{text} ({name})' for name, text in others)}"
    return Recognised(chosen, why)


def leaf(entry: Entry) -> str:
    """Returns the last part of a name in lower case."""
    return entry.name.rpartition("/")[2].lower()


def _signs(entries: Sequence[Entry]) -> dict[str, str]:
    """Returns format → what speaks for it, the strongest first."""
    names = [(entry, leaf(entry)) for entry in entries if "__MACOSX" not in entry.name]
    endings = Counter(name.rpartition(".")[2] for _, name in names if "." in name)
    described = [entry.name for entry, name in names if name in (*YOLO_FILES, *NAMES_FILES)]
    labels = _labels([entry.name for entry, _ in names])
    json = [entry.name for entry, name in names if name.endswith(".json")]
    signs = {}
    if endings["xml"]:
        signs["voc"] = f"{endings['xml']} XML files"
    if described:
        signs["yolo"] = f"{described[0]} beside {labels} label files"
    elif labels and not json:
        signs["yolo"] = f"{labels} text files in labels/ or named like pictures, and nothing that names the classes"
    if json:
        signs["coco"] = json[0] if len(json) == 1 else f"{json[0]} and {len(json) - 1} more JSON files"
    return signs


def _labels(names: Sequence[str]) -> int:
    """Returns how many text files lie in a folder `labels` or beside a picture of the same name."""
    stems = {
        stem
        for stem, dot, suffix in (name.rpartition(".") for name in names)
        if f"{dot}{suffix.lower()}" in PICTURE_SUFFIXES
    }
    texts = [name for name in names if name.lower().endswith(".txt")]
    return sum("labels" in name.lower().split("/")[:-1] or name[:-4] in stems for name in texts)
