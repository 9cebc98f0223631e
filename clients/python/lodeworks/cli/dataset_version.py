"""How `lode` shows a version of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lodeworks.cli.output import plain, size, table_of_counts

if TYPE_CHECKING:
    from lodeworks.blocking.dataset_version import DatasetVersion
    from lodeworks.cli.session import Session


def print_version(session: Session, version: DatasetVersion, *, next_command: str = "") -> None:
    """Prints a version and the next command."""
    if version.id and not version.data.class_counts:
        # What an operation answers leaves out the counts by class.
        version = session.project.datasets.get(version.id)
    data = plain(version.data)
    rows = [
        ("version", data["name"]),
        ("state", data["state"]),
        ("pictures", data["picture_count"]),
        ("annotated", data["annotated_count"]),
        ("boxes", data["box_count"]),
        ("classes", table_of_counts(data["class_counts"])),
        ("size", size(data["size_bytes"])),
        ("made by", data["operation"]),
        ("from", data["parent_names"]),
        ("digest", data["digest"]),
    ]
    session.output.one(version.data, rows=rows)
    if next_command:
        session.output.hint(f"next: {next_command}")
