"""What a run of chaos says; nothing but the standard library, since it goes into a container too."""

from __future__ import annotations


def said(lines: int) -> bytes:
    """Returns what a run of so many lines says, to the byte."""
    return b"".join(line(number, lines) for number in range(lines))


def line(number: int, lines: int) -> bytes:
    """Returns one line of a run."""
    return f"line {number} of {lines} {'·' * (number % 40)}\n".encode()
