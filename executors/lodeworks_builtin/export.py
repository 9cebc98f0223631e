"""The built-in `export`: a view becomes a zip that other tools, and our own import, read."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lodeworks_executor import ErrorCode, ExecutorError, Task
from lodeworks_formats import task_inputs
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import pictures_metadata, read_pictures
from lodeworks_formats.task_inputs import ExportOptions

from lodeworks_builtin.exporting.archive import ExportArchive
from lodeworks_builtin.exporting.layouts import LAYOUTS, Export


def run(task: Task) -> None:
    """Runs one export."""
    given = task.role(task_inputs.OPTIONS).read_bytes() if task.has_role(task_inputs.OPTIONS) else b""
    try:
        export(
            task.role(task_inputs.VIEW),
            assets=task.environment.inputs.assets,
            archive=task.output(task_inputs.ARCHIVE),
            options=ExportOptions.from_bytes(given),
            progress=task.progress,
        )
    except FormatError as error:
        raise ExecutorError(f"{error.reason}: {error}", code=ErrorCode.DATASET) from error


def export(
    view: Path, *, assets: Path, archive: Path, options: ExportOptions, progress: Callable[[float], None]
) -> None:
    """Writes a view as a zip, picture by picture.

    Args:
        view: Parquet file of pictures.
        assets: Folder with the pictures' bytes at `<last 2>/<digest>.<extension>`.
        archive: The new zip.
        options: Format, and what goes along.
        progress: Called with shares from 0 to 1.

    Raises:
        FormatError: BAD_OPTIONS for an unknown format, MISSING_PICTURE, NOT_REPRESENTABLE, WRONG_SCHEMA.
    """
    layout = LAYOUTS.get(options.format)
    if layout is None:
        raise FormatError("BAD_OPTIONS", f"format {options.format!r} is unknown; use one of {', '.join(LAYOUTS)}")
    metadata = pictures_metadata(view)
    class_names = metadata.class_names if metadata.class_names is not None else _class_names(view)
    with ExportArchive(archive) as target:
        job = Export(target, options, class_names, lambda picture: _asset(assets, picture))
        layout(job, _told(read_pictures(view), metadata.count, progress))


def _class_names(view: Path) -> tuple[str, ...]:
    found: set[str] = set()
    for picture in read_pictures(view):
        found.update(box.class_name for box in (*(picture.boxes or ()), *(picture.predictions or ())))
    return tuple(sorted(found))


def _asset(assets: Path, picture: Picture) -> Path:
    original = assets / asset_path(picture.hash_name)
    return original if original.exists() else assets / asset_path(picture.upright_name)


def _told(pictures: Iterator[Picture], total: int, progress: Callable[[float], None]) -> Iterator[Picture]:
    told = 0
    for index, picture in enumerate(pictures):
        if (percent := index * 100 // total) > told:
            told = percent
            progress(percent / 100)
        yield picture
