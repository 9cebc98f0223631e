"""Which bytes of a whole are there, beside a set of positions that knows it the slow way."""

import random

import pytest
from lodeworks.channel.spans import Spans


@pytest.mark.parametrize("seed", range(50))
def test_it_agrees_with_a_set_of_positions(seed: int) -> None:
    chance = random.Random(seed)
    spans, there = Spans(), set[int]()
    for _ in range(30):
        start = chance.randrange(200)
        end = start + chance.randrange(-3, 30)
        spans.add(start, end)
        there |= set(range(start, end))
        gaps = list(spans.gaps(200, longest_bytes=7))
        missing = [position for gap in gaps for position in range(*gap)]
        assert missing == [position for position in range(200) if position not in there]
        assert all(0 < last - first <= 7 for first, last in gaps)
        assert spans.total_bytes == len(there)
        assert spans.prefix_bytes == next(position for position in range(300) if position not in there)


def test_nothing_is_missing_of_an_empty_whole() -> None:
    assert list(Spans().gaps(0, longest_bytes=5)) == []
    assert Spans().prefix_bytes == 0
