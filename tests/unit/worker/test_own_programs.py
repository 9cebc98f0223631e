"""Programs of the configuration: offered, unless the kernel refuses what they need."""

import os

from lodeworks_worker.environments import own_programs
from lodeworks_worker.executors import Program

PLAIN, FIXED = Program(command=("one",)), Program(command=("other",), private_mounts=True)


def _path(tmp_path, script):
    program = tmp_path / "unshare"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


async def test_programs_are_offered_under_their_names(tmp_path):
    offer = await own_programs({"plain": PLAIN, "fixed": FIXED}, base=_path(tmp_path, "exit 0"))
    assert offer.programs == {"executor:plain": PLAIN, "executor:fixed": FIXED}
    assert offer.missing == {}


async def test_where_the_kernel_refuses_mounts_only_those_that_need_them_are_missing(tmp_path):
    base = _path(tmp_path, "echo 'unshare failed: Operation not permitted' >&2; exit 1")
    offer = await own_programs({"plain": PLAIN, "fixed": FIXED}, base=base)
    assert offer.programs == {"executor:plain": PLAIN}
    assert offer.missing.keys() == {"executor:fixed"}
    assert "run this executor as an image with docker (unshare failed" in offer.missing["executor:fixed"]


async def test_a_machine_without_the_program_says_so(tmp_path):
    offer = await own_programs({"fixed": FIXED}, base={"PATH": str(tmp_path)})
    assert "No such file" in offer.missing["executor:fixed"]
    assert (await own_programs({"plain": PLAIN}, base={"PATH": str(tmp_path)})).missing == {}
