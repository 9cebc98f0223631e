"""The built-in `generate`: made pictures as an exchange form, or as a zip to import.

`python -m lodeworks_builtin.generate OUT.zip [--pictures N] [--seed S] [--rejects N] …` writes the zip without a task.
"""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path

from lodeworks_executor import ErrorCode, ExecutorError, Task
from lodeworks_formats import task_inputs
from lodeworks_formats.errors import FormatError
from lodeworks_formats.task_inputs import GenerateOptions, IngestOptions

from lodeworks_builtin.ingest import ingest
from lodeworks_builtin.made_pictures.archive import write_made_archive

_DRAWING_SHARE = 0.8


def run(task: Task) -> None:
    """Makes pictures: role archive if asked for, else exchange, report and blobs as an import gives them."""
    given = task.role(task_inputs.OPTIONS).read_bytes() if task.has_role(task_inputs.OPTIONS) else b""
    try:
        options = GenerateOptions.from_bytes(given)
        archive = task.output(task_inputs.ARCHIVE)
        write_made_archive(archive, options, progress=lambda share: task.progress(share * _DRAWING_SHARE))
        if options.archive:
            return
        report = ingest(
            archive,
            exchange=task.output(task_inputs.EXCHANGE),
            blobs=task.output(task_inputs.BLOBS),
            options=IngestOptions(),
            progress=lambda share, line: task.progress(_DRAWING_SHARE + share * (1 - _DRAWING_SHARE), line),
        )
    except FormatError as error:
        raise ExecutorError(f"{error.reason}: {error}", code=ErrorCode.CONFIG) from error
    archive.unlink()
    task.output(task_inputs.REPORT).write_bytes(report.to_bytes())


def main(arguments: list[str]) -> int:
    """Writes a zip of made pictures from the command line and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lodeworks_builtin.generate", description="Writes made pictures.")
    parser.add_argument("out", type=Path, help="the zip to write")
    numbers = [field for field in fields(GenerateOptions) if field.name != "archive"]
    for field in numbers:
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    given = vars(parser.parse_args(arguments))
    out = given.pop("out")
    try:
        write_made_archive(out, replace(GenerateOptions(archive=True), **given), progress=lambda _: None)
    except (FormatError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
