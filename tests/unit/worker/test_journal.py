from dataclasses import replace

from lodeworks_worker.drivers.base import Exit, RunHandle
from lodeworks_worker.grant import Grant, Input, Limits, OutputSlot, Resources, RunSpec
from lodeworks_worker.journal import Entry, Journal, Offsets, RunPhase
from lodeworks_worker.outcome import FailureReason, Judgement, Outcome, OutcomeState, Output
from lodeworks_worker.stored import from_plain, to_plain

GRANT = Grant(
    "t1",
    4,
    RunSpec(
        executor="builtin:mine",
        operations=("mine",),
        class_names=("a", "b"),
        settings_yaml="x: 1\n",
        inputs=(Input("view", "ab" * 32, 7),),
        outputs=(OutputSlot("scores", required=True, max_bytes=3),),
        resources=Resources(gpus=1, cpus=0.5),
        limits=Limits(run_s=1.5),
    ),
    gpu_uuids=("GPU-1",),
)
FULL = Entry(
    grant=GRANT,
    phase=RunPhase.SETTLED,
    handle=RunHandle(1, "process", "t1", 4, b"\x00\xffstate"),
    exit=Exit(code=None, signal=9, oom=True, cpu_s=1.25),
    ending=FailureReason.CANCELLED,
    ending_message="asked",
    verdict=Judgement(OutcomeState.FAILED, FailureReason.WORKER, "no"),
    offsets=Offsets(1, 2, 3, 4, 5),
    started_at=1.5,
    outcome=Outcome("r1", "t1", 4, Judgement(OutcomeState.CANCELLED), outputs=(Output("scores", "cd" * 32, 3),)),
)


def test_an_entry_survives_json():
    assert from_plain(Entry, to_plain(FULL)) == FULL
    assert from_plain(Entry, to_plain(Entry(GRANT))) == Entry(GRANT)


def test_a_newer_journal_is_read():
    assert from_plain(Entry, {**to_plain(FULL), "added_later": 1}) == FULL


async def test_another_process_reads_what_was_saved(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    await journal.save(Entry(GRANT))
    await journal.save(FULL)
    other = replace(FULL, grant=replace(GRANT, task_id="t2"))
    await journal.save(other)
    heir = Journal(tmp_path / "journal.db")  # the first was never closed: its process was killed
    assert list(await heir.entries()) == [FULL, other]
    await heir.forget(FULL)
    assert list(await heir.entries()) == [other]
    await heir.close()
    await journal.close()


async def test_a_full_disk_takes_the_reserve_and_the_word_is_kept(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    reserve = tmp_path / "journal.db.reserve"
    assert reserve.stat().st_size >= 1 << 20
    full = iter([True, False])

    def write(connection):
        if next(full):
            connection.execute("PRAGMA max_page_count = 1")
            connection.execute("CREATE TABLE more (body TEXT)")
        connection.execute("PRAGMA max_page_count = 100000")
        return reserve.exists()

    assert await journal._do(write) is False
    await journal.entries()
    assert reserve.exists(), "it is made again as soon as there is room"
    await journal.close()
