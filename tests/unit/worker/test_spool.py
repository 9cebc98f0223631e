"""The bound on output that waits for the controller."""

import asyncio
from pathlib import Path

import pytest
from lodeworks_worker.control_plane import Scope
from lodeworks_worker.drivers.base import LogPart
from lodeworks_worker.drivers.spool import PART_BYTES, read_spool
from lodeworks_worker.errors import UnreachableError
from lodeworks_worker.journal import Offsets
from lodeworks_worker.log_pump import LogPump

LIMIT = 8 * PART_BYTES
LINE = b"x" * 99 + b"\n"


def write(path: Path, *, mib: int) -> bytes:
    data = LINE * (mib * (1 << 20) // len(LINE))
    with path.open("ab") as file:
        file.write(data)
    return data


def read_all(path: Path, offset: int = 0) -> bytes:
    parts = []
    while (part := read_spool(path, offset, limit_bytes=LIMIT)).data:
        parts.append(part.data)
        offset = part.next_offset
    return b"".join(parts)


def test_what_fits_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    assert read_spool(path, 0, limit_bytes=LIMIT) == LogPart(b"", 0)
    data = write(path, mib=7)
    assert read_all(path) == data
    assert read_all(path, offset=100) == data[100:]


def test_the_middle_goes_a_record_says_so_and_the_disk_gets_room(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    data = write(path, mib=40)
    before = path.stat().st_blocks

    told = read_all(path)

    first, _, rest = told.partition(b"\n[lode: ")
    dropped, _, last = rest.partition(b" bytes of output were dropped here: the spool was full]\n")
    assert data.startswith(first)
    assert len(first) == PART_BYTES  # it may have been sent already
    assert data.endswith(last)
    assert last.startswith(LINE)
    assert len(first) + int(dropped) + len(last) == len(data)
    assert path.stat().st_blocks < before / 2 or path.stat().st_blocks == before  # a filesystem without holes
    assert read_all(path) == told  # the same offset gives the same bytes again


def test_a_second_overflow_makes_a_second_record(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    write(path, mib=20)
    part = read_spool(path, 0, limit_bytes=LIMIT)
    part = read_spool(path, part.next_offset, limit_bytes=LIMIT)
    assert b"dropped here" in part.data
    write(path, mib=20)

    told = read_all(path, part.next_offset)

    assert told.count(b"dropped here") == 1
    assert read_all(path, part.next_offset) == told


class Away:
    """A controller that took a part whose answer was lost, then was away."""

    def __init__(self) -> None:
        self.taken = b""
        self.away = False

    async def append_log(self, scope: Scope, *, stream: str, offset: int, data: bytes) -> int:
        if self.away:
            raise UnreachableError("away")
        assert offset <= len(self.taken)
        assert self.taken[offset:] == data[: len(self.taken) - offset]
        self.taken += data[len(self.taken) - offset :]
        return len(self.taken)


class Spooled:
    """The logs of a driver."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def logs(self, handle: object, *, offset: int) -> LogPart:
        return read_spool(self.path, offset, limit_bytes=LIMIT)


async def test_what_arrives_is_one_text_over_a_lost_answer_and_an_overflow(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    (tmp_path / "out").mkdir()
    control = Away()
    pump = LogPump(scope=Scope("t", 1), folder=tmp_path, control=control, offsets=Offsets())
    write(path, mib=1)
    await control.append_log(pump.scope, stream="out", offset=0, data=read_spool(path, 0, limit_bytes=LIMIT).data)
    control.away = True
    write(path, mib=30)
    for _ in range(3):
        with pytest.raises(UnreachableError):
            await pump.pump_out(Spooled(path), None)
        await asyncio.sleep(0)
    control.away = False

    while await pump.pump_out(Spooled(path), None):
        pass

    assert control.taken == read_all(path)
    assert control.taken == (tmp_path / "out" / "ymir-executor-out.log").read_bytes()
    assert control.taken.count(b"dropped here") == 1
