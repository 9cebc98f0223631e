"""Near pairs among hashes: nothing near is missed, nothing far is paired."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from lodeworks_formats.segments.hamming import groups_of, near_pairs

centres = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4)
flips = st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 63), max_size=6)), min_size=1, max_size=20)


def slowly(hashes: list[int], distance: int) -> list[int]:
    """Groups by comparing everything with everything."""
    groups = list(range(len(hashes)))
    for left in range(len(hashes)):
        for right in range(left):
            if (hashes[left] ^ hashes[right]).bit_count() <= distance:
                old, new = max(groups[left], groups[right]), min(groups[left], groups[right])
                groups = [new if group == old else group for group in groups]
    return groups


@settings(max_examples=60, deadline=None)
@given(centres, flips, st.integers(0, 7))
def test_groups_are_those_of_comparing_everything_with_everything(centres, flips, distance):
    hashes = [centres[which % len(centres)] ^ sum(1 << bit for bit in bits) for which, bits in flips]
    firsts, seconds = near_pairs(np.array(hashes, dtype=np.uint64), distance=distance)

    assert all(
        (hashes[left] ^ hashes[right]).bit_count() <= distance for left, right in zip(firsts, seconds, strict=True)
    )
    assert groups_of(len(hashes), firsts, seconds).tolist() == slowly(hashes, distance)


def test_no_hash_has_no_pair():
    firsts, seconds = near_pairs(np.zeros(0, dtype=np.uint64), distance=3)
    assert (len(firsts), len(seconds)) == (0, 0)


def test_thousands_of_flat_pictures_are_one_group_and_cost_little():
    hashes = np.concatenate([np.zeros(50_000, dtype=np.uint64), np.arange(1, 50_000, dtype=np.uint64) << np.uint64(20)])
    groups = groups_of(len(hashes), *near_pairs(hashes, distance=1))
    assert len(set(groups[:50_000].tolist())) == 1
