"""What a person wants imported: from where, and how it is to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lodeworks_controller.domain.object_class import check_class_name
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.blob_store import check_digest
from lodeworks_controller.service.dataset_arrival import UnknownClasses

IMPORT_FORMATS: Final = ("auto", "voc", "coco", "yolo")


@dataclass(frozen=True, slots=True)
class ImportSource:
    """Where an import comes from, by one of: an archive uploaded to the project, an address, a path of a worker.

    ``name`` is what it was called where it came from.
    """

    digest: str = ""
    name: str = ""
    url: str = ""
    path: str = ""

    def checked(self) -> "ImportSource":
        """Returns the source with a name, or raises InvalidError when it is not exactly one."""
        if sum(map(bool, (self.digest, self.url, self.path))) != 1:
            message = "name one source: an uploaded archive, an address, or a path on the worker's machine"
            raise InvalidError("SOURCE_INVALID", message, field="source")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise InvalidError("SOURCE_INVALID", "an address begins with http:// or https://", field="source")
        if self.path and not self.path.startswith("/"):
            raise InvalidError("SOURCE_INVALID", "a path on the worker's machine begins with /", field="source")
        if self.digest:
            check_digest(self.digest)
        # What follows ? may be a key to the address; it is no part of a name.
        last = (self.url.partition("?")[0] or self.path).rstrip("/").rpartition("/")[2]
        return replace(self, name=self.name.strip()[:200] or last[:200] or f"{self.digest[:12] or 'source'}.zip")


@dataclass(frozen=True, slots=True)
class ImportWish:
    """How a source is to be read.

    Attributes:
        format: auto, voc, coco or yolo.
        unknown_classes: What happens with classes that the project does not know.
        class_names: What the numbers of YOLO labels mean, where no file says it.
        class_map: Class name in the source → name to use, "" leaves its boxes out.
        labels_for: The dataset version whose pictures get the annotations; "" brings pictures.
        dry_run: Only the report.
    """

    format: str = "auto"
    unknown_classes: UnknownClasses = UnknownClasses.STOP
    class_names: tuple[str, ...] = ()
    class_map: Mapping[str, str] = field(default_factory=dict)
    labels_for: str = ""
    dry_run: bool = False

    def checked(self) -> "ImportWish":
        """Returns the wish with clean names, or raises InvalidError."""
        form = "voc" if self.format == "vocdevkit" else self.format
        if form not in IMPORT_FORMATS:
            message = f"imports read {', '.join(IMPORT_FORMATS)}, not {form}"
            raise InvalidError("SOURCE_INVALID", message, field="format")
        wanted = {old.strip(): check_class_name(new) if new.strip() else "" for old, new in self.class_map.items()}
        if "" in wanted:
            raise InvalidError("NAME_INVALID", "a class to be renamed has no name", field="class_map")
        names = tuple(map(check_class_name, self.class_names))
        return replace(self, format=form, class_names=names, class_map=wanted)

    def to_json(self) -> dict[str, Any]:
        """Returns what the version records of it; what was not asked for is left out."""
        told = {"class_names": list(self.class_names), "class_map": dict(self.class_map)}
        return {
            "format": self.format,
            "unknown_classes": self.unknown_classes.value,
            **{key: value for key, value in told.items() if value},
        }
