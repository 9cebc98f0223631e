"""Parts that are dealt out obey the laws of sets, give each class its share, and never part what looks alike."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.storage.segments.dealing import deal, strata_of
from lodeworks_controller.storage.segments.job_types import Located, Source
from lodeworks_controller.storage.segments.membership import shuffle
from lodeworks_controller.storage.segments.reading import read_members
from lodeworks_controller.storage.segments.written import Writer

few = settings(max_examples=150, deadline=None)


def dealt(sizes, strata, groups=None, seed=0):
    count = len(strata)
    order = shuffle(np.arange(1, count + 1), seed=seed)
    whole = np.arange(count) if groups is None else np.array(groups)
    return deal(order, sizes=tuple(sizes), strata=np.array(strata, dtype=np.int64), groups=whole).tolist()


@st.composite
def cases(draw):
    """Members with strata, in groups named by their lowest place, and sizes that sum to at most their number."""
    count = draw(st.integers(2, 60))
    strata = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, count), min_size=count, max_size=count))
    first = {}
    groups = [first.setdefault(label, place) for place, label in enumerate(labels)]
    parts = draw(st.integers(1, 4))
    cuts = sorted(draw(st.lists(st.integers(0, count), min_size=parts, max_size=parts)))
    sizes = [high - low for low, high in zip([0, *cuts], cuts, strict=False)]
    return strata, groups, sizes, draw(st.integers(0, 5))


@few
@given(cases())
def test_every_member_is_in_one_part_and_groups_stay_whole(case):
    strata, groups, sizes, seed = case
    wanted = sum(size > 0 for size in sizes)
    if len(set(groups)) < wanted:
        with pytest.raises(InvalidError, match="groups that look alike"):
            dealt(sizes, strata, groups, seed)
        return
    parts = dealt(sizes, strata, groups, seed)
    assert set(parts) <= set(range(len(sizes) + 1))
    for place, group in enumerate(groups):
        assert parts[place] == parts[group]
    assert parts == dealt(sizes, strata, groups, seed), "the same seed deals the same"


@few
@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.integers(1, 99), st.integers(0, 5))
def test_without_groups_sizes_are_exact_and_each_stratum_has_its_share(strata, percent, seed):
    count = len(strata)
    sizes = [max(1, count * percent // 100)]
    sizes.append(count - sizes[0])
    parts = dealt(sizes, strata, seed=seed)
    assert [parts.count(0), parts.count(1)] == sizes
    for stratum, many in Counter(strata).items():
        mine = sum(part == 0 for part, of in zip(parts, strata, strict=True) if of == stratum)
        assert abs(mine - many * sizes[0] / count) <= 1.5


def test_groups_cost_the_sizes_little():
    chance = np.random.default_rng(1)
    groups = np.arange(1000)
    for place in chance.integers(0, 990, 100):
        groups[place : place + 3] = groups[place]
    heads = {int(group): int(np.flatnonzero(groups == group)[0]) for group in np.unique(groups)}
    groups = np.array([heads[int(group)] for group in groups])
    strata = chance.integers(0, 3, 1000)
    parts = dealt([800, 200], strata.tolist(), groups.tolist())
    assert parts.count(0) == 800
    assert parts.count(1) == 200
    for stratum in range(3):
        assert abs(np.mean([part == 1 for part, of in zip(parts, strata, strict=True) if of == stratum]) - 0.2) < 0.03


def test_another_seed_deals_otherwise():
    assert dealt([50, 50], [0] * 100, seed=1) != dealt([50, 50], [0] * 100, seed=2)


def test_one_group_cannot_be_two_parts():
    with pytest.raises(InvalidError, match="1 groups that look alike, too few for 2 parts; allow a smaller distance"):
        dealt([1, 1], [0, 0], [0, 0])


def test_no_part_stays_empty_while_there_are_groups_enough():
    assert sorted(Counter(dealt([3, 1], [0] * 4, [0, 0, 2, 2])).values()) == [2, 2]


def test_the_rarest_class_of_a_picture_is_its_stratum_and_names_of_one_class_count_once(tmp_path):
    """Pictures 1 to 6: cat and dog, cat under two names, cat, nothing on it, nobody looked, a class outside the map."""
    writer = Writer(tmp_path)
    seen = {10: {1: 2, 2: 1}, 11: {1: 1, 3: 1}, 12: {3: 4}, 13: {}, 15: {9: 1}}
    rows = [(rec, rid, n) for rec, found in sorted(seen.items()) for rid, n in found.items()]
    counts = pa.table({"rec": [row[0] for row in rows], "rid": [row[1] for row in rows], "n": [row[2] for row in rows]})
    # The order of records is not that of pictures.
    recs = [12, 10, 11, 13, None, 15]
    members = pa.table(
        {
            "aid": pa.array(range(1, 7), pa.int64()),
            "rec": pa.array(recs, pa.int64()),
            "tags": pa.array([[]] * 6, pa.list_(pa.string())),
        }
    )
    written = [writer.write("counts", counts), writer.write("members", members)]
    source = Source(tuple(Located(part.ref, part.path) for part in written))

    strata = strata_of(read_members(source), source=source, classes=((1, 3), (2,), (7,)))

    # By rarity: the class that nothing shows, dog (one picture), cat (three); then looked at and empty; then nobody's.
    cat, dog, empty, nobody = 2, 1, 3, 4
    assert strata.tolist() == [cat, dog, cat, empty, nobody, empty]
