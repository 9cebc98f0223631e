"""Waits between tries: spread, bounded, never before the server's hint."""

import random

import pytest
from lodeworks.channel.backoff import Backoff


def test_bound_doubles_until_the_longest() -> None:
    backoff = Backoff(lambda: 1.0, first_s=1.0, longest_s=10.0)

    assert [backoff.next_s() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_jitter_is_full() -> None:
    backoff = Backoff(random.Random(7).random, first_s=8.0, longest_s=8.0)

    waits = [backoff.next_s() for _ in range(2000)]

    assert min(waits) < 0.1
    assert max(waits) > 7.9
    assert sum(waits) / len(waits) == pytest.approx(4.0, abs=0.2)


def test_hint_is_the_least_and_is_spread_too() -> None:
    backoff = Backoff(lambda: 0.5, first_s=2.0)

    assert backoff.next_s(hint_s=30.0) == 31.0


def test_success_forgets_failures() -> None:
    backoff = Backoff(lambda: 1.0, first_s=1.0)
    backoff.next_s()
    backoff.next_s()

    backoff.reset()

    assert backoff.failures == 0
    assert backoff.next_s() == 1.0


def test_bears_any_number_of_failures() -> None:
    backoff = Backoff(lambda: 1.0)

    waits = [backoff.next_s() for _ in range(5000)]

    assert waits[-1] == 300.0
