"""Prints results: data on stdout, everything else on stderr."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.message import Message

_WIDEST = 60


@dataclass(slots=True)
class Output:
    """How a run of ``lode`` prints.

    Attributes:
        style: table, json or yaml.
        quiet: True leaves out hints and progress.
        color: False leaves out colours.
    """

    style: str = "table"
    quiet: bool = False
    color: bool = True

    def one(self, value: Message | Mapping[str, Any], *, rows: Sequence[tuple[str, Any]] = ()) -> None:
        """Prints one thing: the whole document, or as a table the chosen rows."""
        document = plain(value)
        if self.style != "table":
            self.document(document)
            return
        shown = rows or [(key, value) for key, value in document.items() if value not in ("", [], {}, None)]
        width = max((len(key) for key, _ in shown), default=0)
        for key, item in shown:
            click.echo(f"{key:<{width}}  {_cell(item)}")

    def many(self, values: Iterable[Message | Mapping[str, Any]], *, columns: Mapping[str, Any]) -> None:
        """Prints a list.

        Args:
            values: The things.
            columns: Heading → function of the plain document that gives the cell, or the name of a field.
        """
        documents = [plain(value) for value in values]
        if self.style != "table":
            self.document(documents)
            return
        table = [list(columns)]
        for document in documents:
            cells = [_cell(pick(document) if callable(pick) else document.get(pick)) for pick in columns.values()]
            table.append([cell if len(cell) <= _WIDEST else cell[: _WIDEST - 1] + "…" for cell in cells])
        widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
        for number, row in enumerate(table):
            line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            click.echo(click.style(line, bold=True) if number == 0 and self.color and sys.stdout.isatty() else line)
        if not documents:
            self.hint("none")

    def document(self, value: Any) -> None:
        """Prints a document as JSON or YAML."""
        if self.style == "yaml":
            import yaml

            click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
        else:
            click.echo(json.dumps(value, indent=2, ensure_ascii=False))

    def line(self, value: Message, *, text: str) -> None:
        """Prints one of a stream: a line of text, or one document per line."""
        shown = text if self.style == "table" else json.dumps(plain(value), ensure_ascii=False)
        click.echo(shown)
        sys.stdout.flush()

    def hint(self, text: str) -> None:
        """Says something to the person: a next command, a state."""
        if not self.quiet:
            click.echo(text, err=True)


def plain(value: Message | Mapping[str, Any]) -> dict[str, Any]:
    """Turns a message into plain data: every field, enums by their short name, times in ISO 8601."""
    descriptor = getattr(value, "DESCRIPTOR", None)
    if descriptor is None:
        return dict(value)  # type: ignore[arg-type]
    return {field.name: _field(value, field) for field in descriptor.fields}


def _field(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return dict(sorted(value.items()))
        return [_value(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if field.enum_type is not None:
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        return field.enum_type.values_by_number[value].name.removeprefix(prefix).lower()
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return value.ToJsonString()
        if field.message_type.full_name == "google.protobuf.Duration":
            return value.ToTimedelta().total_seconds()
        return plain(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell(item)}" for key, item in value.items()) or "-"
    return str(value)


def size(size_bytes: float) -> str:
    """Writes a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:  # noqa: PLR2004 - a kilo
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def table_of_counts(classes: Iterable[Mapping[str, Any]]) -> str:
    """Writes class counts in one line; classes without a box are left out."""
    return ", ".join(f"{entry['class_name']} {entry['boxes']}" for entry in classes if entry["boxes"]) or "-"
