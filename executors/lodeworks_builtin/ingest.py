"""The built-in `ingest`: a zip, tar or folder becomes an exchange form, picture blobs and a report.

Class names pass through exactly as written; aliases and unknown classes are the catalogue's affair.
"""

from pathlib import Path

from lodeworks_executor import ErrorCode, ExecutorError, Task
from lodeworks_formats import task_inputs
from lodeworks_formats.errors import FormatError
from lodeworks_formats.segments import read_pictures, write_pictures
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.blobs import BlobFolder
from lodeworks_builtin.ingesting.formats import truth_reader
from lodeworks_builtin.ingesting.importer import Importer
from lodeworks_builtin.ingesting.report import IngestReport
from lodeworks_builtin.ingesting.source import opened_source
from lodeworks_builtin.pace import Progress


def run(task: Task) -> None:
    """Runs one import."""
    exchange = task.output(task_inputs.EXCHANGE)
    try:
        options = IngestOptions.from_bytes(_options(task))
        report = ingest(
            task.role(task_inputs.SOURCE),
            exchange=exchange,
            blobs=task.output(task_inputs.BLOBS),
            options=options,
            progress=task.progress,
        )
    except FormatError as error:
        raise ExecutorError(f"{error.reason}: {error}", code=ErrorCode.DATASET) from error
    task.output(task_inputs.REPORT).write_bytes(report.to_bytes())


def _options(task: Task) -> bytes:
    return task.role(task_inputs.OPTIONS).read_bytes() if task.has_role(task_inputs.OPTIONS) else b""


def ingest(source: Path, *, exchange: Path, blobs: Path, options: IngestOptions, progress: Progress) -> IngestReport:
    """Reads a source whole and returns the report; memory does not grow with the pictures' bytes.

    Args:
        source: A zip, tar or folder.
        exchange: The new Parquet file of pictures, in the order of their names.
        blobs: Folder for originals and upright copies, by digest.
        options: Format and limits.
        progress: Called with shares from 0 to 1.

    Raises:
        FormatError: The source as a whole is hostile, broken or empty; nothing of it should be used.
    """
    with opened_source(source, options=options, work_folder=exchange.parent) as opened:
        report = IngestReport("")
        reader = truth_reader(opened, options=options, report=report)
        if not reader.layout.candidates:
            raise FormatError("EMPTY_SOURCE", "there is no picture in it; put them into a folder images/", source.name)
        importer = Importer(opened, reader, blobs=BlobFolder(blobs), options=options, report=report)
        importer.report_strays()
        part = exchange.with_name(exchange.name + ".part")
        count = write_pictures(part, importer.pictures(progress), kind="exchange")
    if count == 0:
        part.unlink()
        first = report.problems[0]["message"] if report.problems else "none could be read"
        raise FormatError("EMPTY_SOURCE", f"none of its pictures can be used ({first})", source.name)
    if importer.merges:
        write_pictures(exchange, importer.merged(read_pictures(part)), kind="exchange")
        part.unlink()
    else:
        part.replace(exchange)
    return report
