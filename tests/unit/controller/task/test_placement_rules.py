"""Placement: shares, quotas, labels, and the reservation that keeps big tasks from starving."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lodeworks_controller.domain.task.labels import canonical_labels, met, parse_labels
from lodeworks_controller.domain.task.lane import Lane, Offer, Wants, read_lane
from lodeworks_controller.domain.task.placement_order import Draw, check_priority
from lodeworks_controller.domain.task.placement_reservation import Holder, Room, reserve
from lodeworks_controller.domain.task.quota import Quota, Quotas, QuotaScope, Use
from lodeworks_controller.domain.task.state import TaskState
from lodeworks_controller.domain.task.task import Task
from lodeworks_controller.errors import ExhaustedError, InvalidError

AT = datetime(2026, 1, 1, tzinfo=UTC)
PROJECTS = ("p", "q", "r")


def task(number: int, *, project: str = "p", user: str = "u", priority: int = 0) -> Task:
    return Task(
        f"{number:04}", "k", project, "t", TaskState.QUEUED, AT, AT, created_by=user, priority=priority, planned=True
    )


def lane(project: str = "p", user: str = "u", gpus: int = 0) -> Lane:
    return Lane(project, user, Wants(gpus=gpus))


def drawn(draw: Draw, most: int) -> list[Task]:
    taken = []
    while len(taken) < most and (turn := draw.next()):
        draw.took(turn[0])
        taken.append(turn[1])
    return taken


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("gpu=a100", {"gpu": "a100"}, True),
        ("gpu=a100", {}, False),
        ("gpu!=a100", {}, True),
        ("gpu!=a100", {"gpu": "a100"}, False),
        ("ssd", {"ssd": ""}, True),
        ("!slow", {"slow": "yes"}, False),
        ("zone in (a b),!slow", {"zone": "b"}, True),
        ("zone notin (a b)", {"zone": "b"}, False),
        ("", {}, True),
    ],
)
def test_labels_are_met_or_not(text: str, labels: dict[str, str], *, expected: bool) -> None:
    assert met(parse_labels(text), labels) is expected


@pytest.mark.parametrize("text", ["=", "a=b=c", "a in ()", "!a=b", "a b", "é=1", "a" * 401])
def test_labels_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_labels(text)


def test_an_expression_is_the_same_however_it_is_written() -> None:
    assert canonical_labels(" b==2 , zone in (y x),a ") == canonical_labels("a,zone in (x  y),b=2")
    assert canonical_labels(canonical_labels("zone notin (y x),!a")) == canonical_labels("!a,zone notin (x y)")


@given(
    st.sampled_from(PROJECTS),
    st.frozensets(st.sampled_from(["builtin:mine", "driver:docker", "executor:own"])),
    st.integers(0, 8),
    st.sampled_from(["", "gpu=a100", "!slow,zone in (a b)"]),
    st.sampled_from(["", "only free"]),
)
def test_a_lane_reads_back_from_its_text(
    project: str, requires: frozenset[str], gpus: int, labels: str, only_free: str
) -> None:
    here = Lane(project, "u", Wants(requires, gpus, parse_labels(labels), bool(only_free)))
    assert read_lane(str(here)) == here


def test_an_offer_suits_by_names_gpus_and_labels() -> None:
    wants = Wants(frozenset({"x"}), 2, parse_labels("gpu=a100"))
    offer = Offer(frozenset({"x", "y"}), {"gpu": "a100"}, 2)
    assert wants.suits(offer)
    for poorer in (replace(offer, gpus=1), replace(offer, names=frozenset()), replace(offer, labels={})):
        assert not wants.suits(poorer)


def test_within_a_project_priority_goes_before_age() -> None:
    fronts = {lane(): [task(2, priority=5), task(1)], lane(user="v"): [task(3, priority=7, user="v")]}
    assert [one.id for one in drawn(Draw(fronts, held={}, quotas=Quotas()), 3)] == ["0003", "0002", "0001"]


def test_a_high_priority_does_not_take_another_projects_share_but_an_urgent_one_does() -> None:
    held = {("p", "u"): Use(1, 0, 1)}
    ordinary = {lane("p"): [task(1, priority=100)], lane("q"): [task(2, project="q")]}
    assert drawn(Draw(ordinary, held=held, quotas=Quotas()), 1)[0].project_id == "q"
    urgent = {lane("p"): [task(1, priority=101)], lane("q"): [task(2, project="q")]}
    assert drawn(Draw(urgent, held=held, quotas=Quotas()), 1)[0].project_id == "p"


def test_priorities_out_of_range_are_refused() -> None:
    assert check_priority(100, administrator=False) == 100
    assert check_priority(1000, administrator=True) == 1000
    for wrong in (-101, 101):
        with pytest.raises(InvalidError, match="between -100 and 100"):
            check_priority(wrong, administrator=False)


@given(
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=2, max_size=3),
    st.integers(1, 4),
    st.integers(10, 60),
)
def test_running_slots_stay_in_proportion_to_the_weights(weights: list[float], gpus: int, slots: int) -> None:
    """While every project has work waiting, no project lags its share by more than one task's slots."""
    names = PROJECTS[: len(weights)]
    quotas = Quotas.of(Quota(QuotaScope.PROJECT, name, weight) for name, weight in zip(names, weights, strict=True))
    fronts = {lane(name, gpus=gpus): [task(i, project=name) for i in range(slots)] for name in names}
    draw = Draw(fronts, held={}, quotas=quotas)
    taken = drawn(draw, slots)
    count = {name: gpus * sum(one.project_id == name for one in taken) for name in names}
    shares = {name: count[name] / weight for name, weight in zip(names, weights, strict=True)}
    step = gpus / min(weights)
    assert max(shares.values()) - min(shares.values()) <= step + 1e-9


@given(
    st.lists(
        st.tuples(st.sampled_from(PROJECTS), st.sampled_from(["u", "v"]), st.integers(0, 3)), min_size=1, max_size=25
    ),
    st.integers(0, 5),
    st.integers(0, 6),
)
def test_no_quota_is_ever_passed_and_nothing_allowed_is_left(
    wishes: list[tuple[str, str, int]], most_runs: int, most_gpus: int
) -> None:
    quotas = Quotas.of(
        [Quota(QuotaScope.PROJECT, "p", running_tasks=most_runs), Quota(QuotaScope.USER, "u", gpus=most_gpus)]
    )
    fronts: dict[Lane, list[Task]] = {}
    for number, (project, user, gpus) in enumerate(wishes):
        fronts.setdefault(lane(project, user, gpus), []).append(task(number, project=project, user=user))
    lanes = {one.id: where for where, tasks in fronts.items() for one in tasks}
    draw = Draw(fronts, held={}, quotas=quotas)
    taken = [lanes[one.id] for one in drawn(draw, len(wishes))]
    assert sum(one.project_id == "p" for one in taken) <= most_runs
    assert sum(one.wants.gpus for one in taken if one.user_id == "u") <= most_gpus
    left = set(lanes) - {one.id for one in drawn(Draw(fronts, held={}, quotas=quotas), len(wishes))}
    assert all(draw.over_quota(lanes[one]) for one in left)


def test_quota_errors_say_what_is_used_up() -> None:
    quota = Quota(QuotaScope.PROJECT, "p", queued_tasks=2, gpus=1, blob_bytes=10)
    quota.check_wish("cells", queued=1, gpus=1)
    with pytest.raises(ExhaustedError, match="has 2 waiting tasks, its quota is 2"):
        quota.check_wish("cells", queued=2, gpus=0)
    with pytest.raises(ExhaustedError, match="wants 2 GPUs"):
        quota.check_wish("cells", queued=0, gpus=2)
    with pytest.raises(ExhaustedError, match="quota of 10"):
        quota.check_blobs("cells", used_bytes=8, more_bytes=3)
    with pytest.raises(InvalidError):
        Quota(QuotaScope.PROJECT, "p", weight=0.0)


def room(worker: str, gpus: int, *holders: Holder) -> Room:
    return Room(worker, gpus, holders)


def test_the_worker_that_lacks_the_fewest_gpus_is_kept() -> None:
    found = reserve("t", 4, [room("a", 4, Holder(3)), room("b", 4, Holder(1)), room("c", 2)], at=AT)
    assert found is not None
    assert (found.worker_id, found.missing, found.starts_at) == ("b", 1, None)
    assert reserve("t", 4, [room("c", 2)], at=AT) is None


def test_others_start_beside_a_reservation_only_where_that_cannot_delay_it() -> None:
    soon = AT + timedelta(minutes=10)
    found = reserve("t", 2, [room("a", 4, Holder(2, soon), Holder(1, soon))], at=AT)
    assert found is not None
    assert (found.starts_at, found.spare) == (soon, 1)
    assert found.allows(worker_id="b", gpus=4, run_timeout_s=0, at=AT)
    assert found.allows(worker_id="a", gpus=0, run_timeout_s=0, at=AT)
    assert found.allows(worker_id="a", gpus=1, run_timeout_s=600, at=AT)
    whole = reserve("t", 4, [room("a", 4, Holder(3, soon))], at=AT)
    assert whole is not None
    assert whole.allows(worker_id="a", gpus=1, run_timeout_s=600, at=AT)
    assert not whole.allows(worker_id="a", gpus=1, run_timeout_s=601, at=AT)
    assert not whole.allows(worker_id="a", gpus=1, run_timeout_s=0, at=AT)


@given(
    st.integers(2, 8),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 30)), max_size=6),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 40)), min_size=1, max_size=12),
)
def test_backfilled_tasks_never_delay_the_promised_start(
    wanted: int, holders: list[tuple[int, int]], small: list[tuple[int, int]]
) -> None:
    """Small tasks start in any order where allowed; each ends by its limit. The big one starts when promised."""
    gpus, running = 8, list[Holder]()
    for number, minutes in holders:
        if sum(one.gpus for one in running) + number <= gpus:
            running.append(Holder(number, AT + timedelta(minutes=minutes)))
    promised = reserve("t", wanted, [room("a", gpus, *running)], at=AT)
    assert promised is not None
    assert promised.starts_at is not None
    for number, minutes in small:
        now = reserve("t", wanted, [room("a", gpus, *running)], at=AT)
        assert now is not None
        assert now.starts_at is not None
        assert now.starts_at <= promised.starts_at
        free = room("a", gpus, *running).free
        if number <= free and now.allows(worker_id="a", gpus=number, run_timeout_s=minutes * 60, at=AT):
            running.append(Holder(number, AT + timedelta(minutes=minutes)))
    at_start = sum(one.gpus for one in running if one.ends_at is not None and one.ends_at > promised.starts_at)
    assert gpus - at_start >= wanted
