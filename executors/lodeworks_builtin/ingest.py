"""The built-in `ingest`: a zip, tar or folder becomes an exchange form, picture blobs and a report.

Class names pass through exactly as written; aliases and unknown classes are the catalogue's affair.
"""

import hashlib
from contextlib import closing
from pathlib import Path

from lodeworks_executor import ErrorCode, ExecutorError, Task
from lodeworks_executor.checkpoint import Checkpoint
from lodeworks_formats import task_inputs
from lodeworks_formats.errors import FormatError
from lodeworks_formats.segments import write_pictures
from lodeworks_formats.task_inputs import IngestOptions

from lodeworks_builtin.ingesting.blobs import BlobFolder
from lodeworks_builtin.ingesting.formats import TruthReader, truth_reader
from lodeworks_builtin.ingesting.importer import Importer
from lodeworks_builtin.ingesting.index import opened_index
from lodeworks_builtin.ingesting.known import KnownPictures
from lodeworks_builtin.ingesting.location import located_source
from lodeworks_builtin.ingesting.parts import Parts, Rhythm
from lodeworks_builtin.ingesting.report import IngestReport
from lodeworks_builtin.ingesting.source import opened_source
from lodeworks_builtin.pace import Progress


def run(task: Task) -> None:
    """Runs one import."""
    exchange = task.output(task_inputs.EXCHANGE)
    try:
        options = IngestOptions.from_bytes(_options(task))
        with located_source(task, options, work_folder=exchange.parent) as source:
            report = ingest(
                source,
                exchange=exchange,
                blobs=task.output(task_inputs.BLOBS),
                options=options,
                progress=_second_half(task.progress) if options.url else task.progress,
                known=task.role(task_inputs.KNOWN) if task.has_role(task_inputs.KNOWN) else None,
                checkpoint=task.checkpoint,
            )
    except FormatError as error:
        raise ExecutorError(f"{error.reason}: {error}", code=ErrorCode.DATASET) from error
    task.output(task_inputs.REPORT).write_bytes(report.to_bytes())


def _second_half(progress: Progress) -> Progress:
    """Returns the progress of work that begins when a download, the first half, is done."""
    return lambda share, line: progress(0.5 + share / 2, line)


def _options(task: Task) -> bytes:
    return task.role(task_inputs.OPTIONS).read_bytes() if task.has_role(task_inputs.OPTIONS) else b""


def ingest(
    source: Path,
    *,
    exchange: Path,
    blobs: Path,
    options: IngestOptions,
    progress: Progress,
    known: Path | None = None,
    checkpoint: Checkpoint | None = None,
    rhythm: Rhythm | None = None,
) -> IngestReport:
    """Reads a source whole and returns the report; memory does not grow with the pictures.

    Args:
        source: A zip, tar or folder.
        exchange: The new Parquet file of pictures, in the order of their names.
        blobs: Folder for originals and upright copies, by digest.
        options: Format and limits.
        progress: Called with shares from 0 to 1, and a line for people.
        known: A view; with it only labels are read, for its pictures.
        checkpoint: Where marks are left, and where one of an earlier run is found to go on from. What was read before
            the mark is not among the blobs again.
        rhythm: How often marks are left.

    Raises:
        FormatError: The source as a whole is hostile, broken or empty; nothing of it should be used.
    """
    with (
        closing(BlobFolder(blobs)) as blob_folder,
        opened_index(exchange.parent) as index,
        opened_source(source, options=options, work_folder=exchange.parent) as opened,
    ):
        report = IngestReport("")
        reader = truth_reader(opened, index=index, options=options, report=report)
        if known is not None:
            part = exchange.with_name(exchange.name + ".part")
            report.labelled = 0
            labels = KnownPictures(opened, reader, view=known, options=options, report=report)
            count = write_pictures(part, labels.pictures(progress), kind="exchange")
            _refuse_nothing(count, report, part, "none of its annotations is for a picture of the dataset")
            part.replace(exchange)
            return report
        if not reader.layout.candidates:
            message = "there is no picture in it; put them into a folder images/"
            if reader.shared_name or any(True for _ in reader.layout.orphans()):
                message += ", or say --labels-for DATASET if it has the pictures"
            raise FormatError("EMPTY_SOURCE", message, options.source_name or source.name)
        importer = Importer(opened, reader, blobs=blob_folder, options=options, report=report)
        identity = _identity(reader, options)
        with Parts.beside(exchange, importer, identity=identity, checkpoint=checkpoint, rhythm=rhythm) as parts:
            done = parts.take_up()
            if done:
                print(f"going on behind {done:,} pictures that an earlier run has read", flush=True)  # noqa: T201
            parts.write(progress)
            count = parts.join(exchange)
    _refuse_nothing(count, report, exchange, "none of its pictures can be used")
    return report


def _identity(reader: TruthReader, options: IngestOptions) -> str:
    """Returns what tells a source, read with these options, from any other."""
    told = hashlib.sha256(options.to_bytes())
    for candidate in reader.layout.candidates:
        for entry in (candidate.picture, candidate.truth, candidate.predictions):
            told.update(
                b"-\n"
                if entry is None
                else f"{entry.name}\n{entry.size_bytes}\n{entry.handle!r}\n".encode("utf-8", "surrogateescape")
            )
    return told.hexdigest()


def _refuse_nothing(count: int, report: IngestReport, part: Path, message: str) -> None:
    if count:
        return
    part.unlink()
    first = f"{report.problems[0]['file']}: {report.problems[0]['message']}" if report.problems else "there is nothing"
    raise FormatError("EMPTY_SOURCE", f"{message} ({first})")
