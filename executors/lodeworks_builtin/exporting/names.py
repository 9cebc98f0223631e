"""File names in an export: the original ones where they can be kept, each stem once."""

from contextlib import suppress
from pathlib import PurePosixPath

from lodeworks_formats.archive_names import safe_name
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture

from lodeworks_builtin.ingesting.layout import KNOWN_FOLDERS, SPLIT_FOLDERS
from lodeworks_builtin.ingesting.meta import NO_SPLIT
from lodeworks_builtin.ingesting.yolo_reader import UNSPLIT

_MEANING = frozenset((*KNOWN_FOLDERS, *SPLIT_FOLDERS, "labels", "__macosx", NO_SPLIT, UNSPLIT))
_SUFFIXES = {
    "jpg": (".jpg", ".jpeg"),
    "png": (".png",),
    "bmp": (".bmp",),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
}


class ExportNames:
    """Gives each picture of an export a relative name whose stem no other has, without regard to case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, picture: Picture) -> PurePosixPath:
        """Returns the picture's first name if it is safe, fits its content and is free; else one with its digest."""
        wanted = PurePosixPath(picture.hash_name)
        if picture.names:
            with suppress(FormatError):
                wanted = _readable(PurePosixPath(safe_name(picture.names[0])), wanted)
            if wanted.suffix.lower() not in _SUFFIXES[picture.extension]:
                wanted = wanted.with_name(f"{wanted.name}.{picture.extension}")
        if str(wanted.with_suffix("")).casefold() in self._taken:
            wanted = wanted.with_name(f"{wanted.stem}_{picture.digest[:12]}{wanted.suffix}")
        self._taken.add(str(wanted.with_suffix("")).casefold())
        return wanted


def _readable(name: PurePosixPath, otherwise: PurePosixPath) -> PurePosixPath:
    """Returns a name that our own import reads back as it is: no folder in it means anything to an import."""
    if name.name.startswith("."):
        return otherwise
    if any(part.lower() in _MEANING for part in name.parts[:-1]):
        return PurePosixPath("_".join(name.parts))
    return name
