"""Freed buffers stay with the process: counted by the page faults of using the same amount again and again."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from lodeworks.channel.freed_memory import keep_freed_memory
{call}
def churn():
    for _ in range(100):
        buffers = [b"x" * 524_288 for _ in range(8)]
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str) -> int:
    command = [sys.executable, "-c", PROGRAM.format(call=call)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory in their own way")
def test_memory_is_not_given_back_between_two_buffers() -> None:
    assert faults("keep_freed_memory()") * 10 < faults("")
