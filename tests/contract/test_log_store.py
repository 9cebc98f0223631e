"""Logs by offset and metric points by position, on every store that keeps them."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lodeworks_controller.domain.ids import ulids
from lodeworks_controller.errors import GapError
from lodeworks_controller.service.log import LogKey, LogStore, MetricPoint, MetricStore
from lodeworks_controller.service.sparing import SparingBlobs
from lodeworks_controller.storage.blobs.disk import DiskBlobStore
from lodeworks_controller.storage.database.unit import SqlStore
from lodeworks_controller.storage.logs.files import LogFiles, MetricFiles
from lodeworks_controller.storage.logs.sealed import SealedLogs, SharedMetrics

TASK = "0123456789abcdefghjkmnpqrs"
KEY = LogKey(TASK, 1)
Stores = tuple[LogStore, MetricStore]


@pytest.fixture(params=["files", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str | None:
    """Returns where the database is; None for files."""
    if request.param == "files":
        return None
    return tmp_path / "lode.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def stores(address: Path | str | None, tmp_path: Path) -> AsyncIterator[Callable[[], Stores]]:
    """Opens the stores, as each of several controllers would; with files there is one controller."""
    if address is None:
        one = LogFiles(tmp_path), MetricFiles(tmp_path)
        yield lambda: one
        return
    ids = ulids(lambda: datetime.now(UTC))
    store = await SqlStore.open(address, clock=lambda: datetime.now(UTC), ids=ids)
    await store.create_schema()
    blobs = DiskBlobStore(tmp_path / "blobs", ids=ids)
    blobs.open()
    yield lambda: (SealedLogs(store, SparingBlobs(blobs, store), tail_bytes=100), SharedMetrics(store))
    await store.close()


@pytest.fixture
def logs(stores: Callable[[], Stores]) -> LogStore:
    return stores()[0]


@pytest.fixture
def metrics(stores: Callable[[], Stores]) -> MetricStore:
    return stores()[1]


async def test_an_overlap_is_trimmed_and_a_gap_refused(logs: LogStore) -> None:
    assert await logs.append(KEY, 0, b"hello ") == 6
    assert await logs.append(KEY, 3, b"lo world") == 11
    assert await logs.append(KEY, 0, b"hello") == 11
    with pytest.raises(GapError) as refusal:
        await logs.append(KEY, 12, b"!")
    assert refusal.value.committed_bytes == 11
    assert refusal.value.metadata["committed_size"] == "11"
    assert await logs.read(KEY, 0, 100) == b"hello world"
    assert await logs.read(KEY, 6, 3) == b"wor"


async def test_many_small_chunks_read_back_to_the_byte(logs: LogStore) -> None:
    lines = [f"line {number}\n".encode() for number in range(200)]
    size = 0
    for line in lines:
        size = await logs.append(KEY, size, line)
    whole = b"".join(lines)
    assert size == await logs.size(KEY) == len(whole)
    assert await logs.read(KEY, 0, 10_000) == whole
    for start in range(0, len(whole), 97):
        assert await logs.read(KEY, start, 150) == whole[start : start + 150]
    assert await logs.read(KEY, len(whole), 10) == b""


async def test_controllers_that_append_at_once_keep_one_order(stores: Callable[[], Stores]) -> None:
    whole = bytes(range(256)) * 20

    async def send(logs: LogStore, step: int) -> None:
        offset = 0
        while offset < len(whole):
            try:
                offset = await logs.append(KEY, offset, whole[offset : offset + step])
            except GapError as gap:
                offset = gap.committed_bytes

    await asyncio.gather(*(send(stores()[0], step) for step in (70, 111, 64)))

    logs = stores()[0]
    assert await logs.size(KEY) == len(whole)
    assert await logs.read(KEY, 0, len(whole) + 10) == whole


async def test_streams_and_epochs_are_apart(logs: LogStore) -> None:
    await logs.append(KEY, 0, b"one")
    await logs.append(LogKey(TASK, 2), 0, b"two")
    await logs.append(LogKey(TASK, 1, "worker"), 0, b"three")
    assert await logs.read(KEY, 0, 100) == b"one"
    assert await logs.size(LogKey(TASK, 2)) == 3
    assert await logs.size(LogKey(TASK, 3)) == 0
    assert await logs.read(LogKey(TASK, 3), 0, 10) == b""


async def test_points_are_kept_once_and_in_order(metrics: MetricStore) -> None:
    points = [MetricPoint(step, "loss", 1 / (step + 1), datetime(2026, 1, 1, tzinfo=UTC)) for step in range(5)]
    assert await metrics.append(TASK, 1, 0, points[:3]) == 3
    assert await metrics.append(TASK, 1, 1, points[1:]) == 5
    assert list(await metrics.read(TASK, 1, 0, 100)) == points
    assert list(await metrics.read(TASK, 1, 3, 1)) == points[3:4]
    assert list(await metrics.read(TASK, 1, 5, 1)) == []
    with pytest.raises(GapError):
        await metrics.append(TASK, 1, 7, points)


async def test_a_value_that_is_not_a_number_stays_so(metrics: MetricStore) -> None:
    await metrics.append(TASK, 1, 0, [MetricPoint(0, "loss", math.nan)])
    (point,) = await metrics.read(TASK, 1, 0, 1)
    assert math.isnan(point.value)


async def test_half_a_line_after_a_crash_is_dropped(tmp_path: Path) -> None:
    first = MetricFiles(tmp_path)
    await first.append(TASK, 1, 0, [MetricPoint(0, "loss", 1.0)])
    leave_half_a_line(tmp_path)
    again = MetricFiles(tmp_path)
    assert await again.append(TASK, 1, 1, [MetricPoint(1, "loss", 0.5)]) == 2
    assert [point.value for point in await again.read(TASK, 1, 0, 9)] == [1.0, 0.5]


def leave_half_a_line(folder: Path) -> None:
    (path,) = folder.rglob("metrics.jsonl")
    with path.open("ab") as file:
        file.write(b'[1, "lo')
