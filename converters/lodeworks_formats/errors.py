"""What the readers of this package raise.

FormatError is the only error that leaves `lodeworks_formats`: a file that somebody else wrote is broken, hostile
or says something we cannot carry.
"""

from dataclasses import dataclass


@dataclass(eq=False)
class FormatError(Exception):
    """Says what is wrong with a file.

    Attributes:
        reason: Stable, in upper snake case, such as ZERO_AREA_BOX; programs decide by it.
        message: One lower-case sentence: what is wrong and what to do.
        file: The file's name inside its archive or folder, "" when the caller knows it better.
        line: The line counted from 1, None when the format has no lines.
    """

    reason: str
    message: str
    file: str = ""
    line: int | None = None

    def __post_init__(self) -> None:
        super().__init__(str(self))

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}" if place else self.message

    def at(self, file: str, *, line: int | None = None) -> "FormatError":
        """Returns the same error with its place filled in where it was missing."""
        return FormatError(self.reason, self.message, self.file or file, self.line if line is None else line)
