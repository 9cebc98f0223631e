"""Ids sort by the moment they were made."""

from datetime import UTC, datetime, timedelta

from lodeworks_controller.domain.clock import from_micros, to_micros
from lodeworks_controller.domain.ids import ID_LENGTH, encode_ulid, is_id, ulids


def test_ids_sort_by_time_also_within_a_millisecond() -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    make = ulids(lambda: clock[0])
    made = []
    for _ in range(50):
        made += [make(), make()]
        clock[0] += timedelta(milliseconds=1)
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(is_id(one) for one in made)


def test_ids_do_not_go_back_with_the_clock() -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    make = ulids(lambda: clock[0])
    first = make()
    clock[0] -= timedelta(hours=1)
    assert make() > first


def test_an_id_has_the_form_of_a_ulid() -> None:
    assert encode_ulid(0, 0) == "0" * ID_LENGTH
    assert encode_ulid((1 << 48) - 1, (1 << 80) - 1) == "7" + "z" * 25
    assert not is_id("0" * 25)
    assert not is_id("I" * 26)


def test_microseconds_are_exact() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert from_micros(to_micros(moment)) == moment
