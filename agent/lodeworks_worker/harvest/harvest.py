"""Reads /out of an ended run."""

import shutil
from pathlib import Path

from lodeworks_formats import task_inputs
from lodeworks_formats.blob_pack import is_packed_name
from lodeworks_formats.protocol import INFER, MINING, TRAINING
from lodeworks_formats.ymir_results import FAILED, Monitor, parse_monitor

from lodeworks_worker.errors import OutputError
from lodeworks_worker.grant import Grant
from lodeworks_worker.harvest.found import Found, check, regular_files
from lodeworks_worker.harvest.plain_file import open_plain
from lodeworks_worker.harvest.training import training_outputs
from lodeworks_worker.staging import plan

_MONITOR_BYTES = 1 << 16


def harvest(grant: Grant, *, folder: Path, candidates: Path | None, complete: bool) -> list[Found]:
    """Returns the files that a run left for its slots. Blocks. May be repeated.

    Args:
        grant: What was run.
        folder: The run's folder; what has to be made is made in its `harvest`.
        candidates: The view of the role `candidate`, for runs that mine or infer.
        complete: Whether the run ended well, so that required outputs must be there.

    Raises:
        OutputError: What is there cannot be used; file and line say where.
    """
    out, scratch = folder / "out", folder / "harvest"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    found = _own_form(out)
    taken = {one.role for one in found}
    operations = plan.protocol_operations(grant)
    if TRAINING in operations and "result" not in taken:
        found += training_outputs(out, scratch=scratch, complete=complete)
    if candidates is not None and complete:
        # pyarrow is loaded by whoever mines or infers, not by an idle worker.
        from lodeworks_worker.harvest.candidates import inference_outputs, mining_outputs  # noqa: PLC0415

        if MINING in operations and task_inputs.SCORES not in taken:
            found += mining_outputs(out, scratch=scratch, candidates=candidates)
        if INFER in operations and task_inputs.PREDICTIONS not in taken:
            found += inference_outputs(out, scratch=scratch, candidates=candidates)
    return check(found, grant.run.outputs, out=out, complete=complete)


def _own_form(out: Path) -> list[Found]:
    """Returns what built-in executors leave in /out/lode, where a path is a role."""
    found = []
    root = out / "lode"
    for path in regular_files(root):
        role = str(path.relative_to(root))
        if role == "metrics.jsonl" or role.startswith(f"{plan.CHECKPOINT}/"):
            continue
        if role.startswith(f"{task_inputs.BLOBS}/") and is_packed_name(path.name):
            continue  # they are sent before
        found.append(Found(role, path, listed=not role.startswith(f"{task_inputs.BLOBS}/")))
    return found


def read_monitor(folder: Path) -> Monitor | None:
    """Returns the progress that the run tells; None before it does, and in the middle of a write."""
    try:
        with open_plain(folder / "out", "monitor.txt") as file:
            return parse_monitor(file.read(_MONITOR_BYTES).decode("utf-8", errors="replace"))
    except OSError:
        return None


def complaint(folder: Path) -> Monitor | None:
    """Returns the failure that the executor told in monitor.txt, if it did."""
    told = read_monitor(folder)
    return told if told is not None and told.state == FAILED else None


__all__ = ["OutputError", "complaint", "harvest", "read_monitor"]
