"""What tasks on labelled pictures check before they are made: the version, its labels, the classes."""

from collections.abc import Sequence
from difflib import get_close_matches

from lodeworks_controller.domain.dataset import DatasetVersion, VersionState
from lodeworks_controller.domain.object_class import ClassMap, ClassSelection, require_nonempty
from lodeworks_controller.errors import ConflictError, InvalidError, LodeworksError
from lodeworks_controller.service.object_class import ClassTable


def parents_of(versions: Sequence[DatasetVersion]) -> tuple[str, ...]:
    """Returns the tasks that still make these versions, to wait for; refuses versions that never will be READY."""
    waiting = []
    for version in versions:
        if version.state is VersionState.CREATING and version.task_id and version.deleted_at is None:
            waiting.append(version.task_id)
        else:
            version.require_content()
    return tuple(dict.fromkeys(waiting))


def require_annotated(version: DatasetVersion) -> None:
    """Refuses a version without ground truth; one that is still being made is judged when it is there."""
    if version.content is not None and not version.content.statistics.annotated:
        raise ConflictError(
            "NOT_ANNOTATED",
            f"{version.full_name} has no annotations; import its pictures again with annotation files beside them",
            dataset=version.full_name,
        )


def chosen_classes(class_map: ClassMap, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the classes meant, as the map spells them, in the order asked for; all of the map's without names."""
    require_nonempty(class_map)
    for name in names:
        if class_map.find(name) is None:
            near = get_close_matches(name, class_map.names, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(class_map.names)}"
            raise InvalidError("CLASS_UNKNOWN", f"the project has no class {name!r}; {hint}", field="class_names")
    try:
        return ClassSelection(tuple(names) or None).apply(class_map)
    except LodeworksError as error:
        raise InvalidError("CLASS_UNKNOWN", error.message, field="class_names") from error


def require_pictures(version: DatasetVersion, table: ClassTable, names: Sequence[str]) -> None:
    """Refuses classes that no picture of the version has: a model cannot learn them."""
    if version.content is None:
        return
    raw = version.content.statistics.raw
    seen = {name for rid, name in table.names().items() if rid in raw and raw[rid].boxes}
    missing = [name for name in names if name not in seen]
    if missing:
        rest = ",".join(name for name in names if name in seen)
        hint = f"leave it out with --class {rest}" if rest else "label some first"
        raise ConflictError(
            "CLASS_WITHOUT_PICTURES",
            f"no picture of {version.full_name} has {' or '.join(missing)}; {hint}",
            classes=", ".join(missing),
        )
