"""What the programs cost when nothing happens, and how long a person waits for them; prints a table and one JSON line.

python benchmarks/footprint.py [--settle 5]

Memory is what /proc says of fresh processes that have been idle for a while: RSS, summed over the program and its
children (pages that they share count twice), and PSS beside it. The front of a device is counted apart.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GOALS = {
    "controller_idle_mb": 150.0,
    "worker_idle_mb": 100.0,
    "device_idle_mb": 80.0,
    "lode_help_s": 0.4,
    "lode_up_s": 6.0,
}
"""Most that each figure may be."""

HELP_RUNS = 5
READY_S = 60.0
FRONT = "lodeworks_device.serving.front"


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of some processes in MB: RSS counts shared pages once per process, PSS shares them out."""

    rss_mb: float
    pss_mb: float
    processes: int


def program(name: str) -> str:
    """Returns the path of a program beside this Python."""
    return str(Path(sys.executable).with_name(name))


def family(pid: int) -> list[int]:
    """Returns a process and all that it started and still has."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def memory(pids: Sequence[int]) -> Memory:
    """Sums up what /proc says of processes; one that has ended meanwhile counts nothing."""
    rss_kb = pss_kb = seen = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        rss_kb += _field(text, "Rss")
        pss_kb += _field(text, "Pss")
        seen += 1
    return Memory(rss_kb * 1024 / 1e6, pss_kb * 1024 / 1e6, seen)


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None, f"/proc has no {name}"
    return int(found[1])


def command_line(pid: int) -> str:
    """Returns how a process was started; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Installation:
    """`lode up` in a folder of its own, and a device beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.device_state = folder / "device"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LODE_", "XDG_"))}
        self.environment = kept | {"HOME": str(folder), "NO_COLOR": "1"}

    def run(self, *command: str) -> str:
        """Runs a command to its end and returns what it printed; ends the benchmark when it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def lode(self, *arguments: str) -> str:
        """Runs `lode`."""
        return self.run(program("lode"), *arguments)

    def pid(self, name: str) -> int:
        """Returns the pid of the controller or the worker."""
        note = json.loads((self.state / "installation.json").read_text())
        return int(note[name]["pid"])

    @contextmanager
    def device(self) -> Iterator[int]:
        """Enrols a device, starts its agent, yields its pid once the agent has reported."""
        line = json.loads(self.lode("device", "add", "gate-1", "-o", "json"))["line"].split()
        self.run(program("lode-device"), *line[1:], "--state", str(self.device_state))
        with (self.folder / "device.log").open("wb") as log:
            agent = subprocess.Popen(
                [program("lode-device"), "run", "--state", str(self.device_state)],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._reported, what="the device's first report")
            yield agent.pid
        finally:
            agent.terminate()
            agent.wait(20)
            self.run(program("lode-device"), "shutdown", "--state", str(self.device_state))

    def _reported(self) -> bool:
        return bool(json.loads(self.lode("device", "show", "gate-1", "-o", "json"))["reported_json"])


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    """Waits for a condition, or ends the benchmark."""
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come within {READY_S:.0f} s")
        time.sleep(0.2)


def help_s(installation: Installation) -> float:
    """Returns the median time of a fresh `lode --help`, in seconds."""
    times = []
    for _ in range(HELP_RUNS):
        started_s = time.monotonic()
        installation.lode("--help")
        times.append(time.monotonic() - started_s)
    return statistics.median(times)


def device_memory(installation: Installation, *, settle_s: float) -> tuple[Memory, Memory]:
    """Returns the memory of an idle agent, and of what serves beside it (the front)."""
    with installation.device() as pid:
        time.sleep(settle_s)
        own = [one for one in family(pid) if FRONT not in command_line(one)]
        state = str(installation.device_state)
        beside = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit()
            and FRONT in (line := command_line(int(entry.name)))
            and (state in line or int(entry.name) in family(pid))
        ]
        return memory(own), memory(beside)


def measure(folder: Path, *, settle_s: float) -> tuple[dict[str, float], dict[str, Memory]]:
    """Returns the figures, and the memory of each program."""
    installation = Installation(folder)
    figures = {"lode_help_s": help_s(installation)}
    started_s = time.monotonic()
    installation.lode("up", "-d", "--state", str(installation.state))
    figures["lode_up_s"] = time.monotonic() - started_s
    try:
        time.sleep(settle_s)
        found = {name: memory(family(installation.pid(name))) for name in ("controller", "worker")}
        found["device"], found["front"] = device_memory(installation, settle_s=settle_s)
    finally:
        installation.lode("down", "--state", str(installation.state))
    figures |= {f"{name}_idle_mb": found[name].rss_mb for name in ("controller", "worker", "device")}
    return figures, found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settle", type=float, default=5.0, help="seconds of rest before memory is read")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lodeworks-footprint-"))
    try:
        figures, found = measure(folder, settle_s=given.settle)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'figure':<22}{'measured':>10}{'at most':>10}")
    for name, most in GOALS.items():
        verdict = "" if figures[name] <= most else "   over"
        print(f"{name:<22}{figures[name]:>10.2f}{most:>10.1f}{verdict}")
    print(f"\n{'program':<12}{'processes':>10}{'RSS MB':>10}{'PSS MB':>10}")
    for name, memory_of in found.items():
        print(f"{name:<12}{memory_of.processes:>10}{memory_of.rss_mb:>10.1f}{memory_of.pss_mb:>10.1f}")
    good = all(figures[name] <= most for name, most in GOALS.items())
    rounded = {name: round(figures[name], 3) for name in GOALS}
    print(
        json.dumps(
            {"area": "footprint", "figures": rounded, "goals": {n: {"max": m} for n, m in GOALS.items()}, "ok": good}
        )
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
