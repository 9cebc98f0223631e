"""Which bytes of a whole are there: spans that do not touch."""

from collections.abc import Iterable, Iterator


class Spans:
    """Half-open spans (start, end) of positions, in order; those that meet are joined.

    Args:
        spans: What is there at first, in any order, overlaps allowed.
    """

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._spans = list[tuple[int, int]]()
        for start, end in spans:
            self.add(start, end)

    @property
    def total_bytes(self) -> int:
        """How much is there."""
        return sum(end - start for start, end in self._spans)

    @property
    def prefix_bytes(self) -> int:
        """How much is there from the very beginning without a gap."""
        return self._spans[0][1] if self._spans and self._spans[0][0] == 0 else 0

    def add(self, start: int, end: int) -> None:
        """Notes that the bytes from start to end are there; an empty span adds nothing."""
        if end <= start:
            return
        apart = list[tuple[int, int]]()
        for first, last in self._spans:
            if last < start or first > end:
                apart.append((first, last))
            else:
                start, end = min(start, first), max(end, last)
        self._spans = sorted([*apart, (start, end)])

    def gaps(self, size_bytes: int, *, longest_bytes: int) -> Iterator[tuple[int, int]]:
        """Yields what is missing of a whole of that length, in order, in spans of at most so many bytes."""
        position = 0
        for start, end in [*self._spans, (size_bytes, size_bytes)]:
            while position < start:
                stop = min(position + longest_bytes, start)
                yield position, stop
                position = stop
            position = max(position, end)
