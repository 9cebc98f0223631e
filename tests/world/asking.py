"""A client that asks a device every 50 ms, as a process of its own: `python asking.py HOST:PORT PICTURE OUT`.

Writes one JSON line per answer to OUT until it is told to end (SIGTERM), then one line about how long this very
process was held up by the machine, so that a stall of the client is not taken for a gap of the device.
"""

import hashlib
import http.client
import itertools
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

EACH_S = 0.05
_STALL_S = 0.02


def allowed_gap_s() -> float:
    """0.2 s; on a machine that has more to do than it has cores, as much longer as everything takes there."""
    return 0.2 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass(frozen=True)
class Asked:
    """What a client saw: (end, status, release, digest of the answer) in order, and the stalls of its own."""

    answers: list[tuple[float, int, str, str]]
    stalls: list[tuple[float, float]]

    @property
    def bad(self) -> list[tuple[float, int, str, str]]:
        return [answer for answer in self.answers if answer[1] != 200]

    @property
    def longest_gap_s(self) -> float:
        """The longest time without a good answer, less what the machine held up the client itself."""
        ends = [end for end, status, _, _ in self.answers if status == 200]
        return max((b - a - self._stalled(a, b) for a, b in itertools.pairwise(ends)), default=0.0)

    @property
    def releases(self) -> list[str]:
        """The releases that answered, each time that it changed."""
        seen: list[str] = []
        for _, status, release, _ in self.answers:
            if status == 200 and (not seen or seen[-1] != release):
                seen.append(release)
        return seen

    def digests(self, release: str) -> set[str]:
        return {digest for _, status, of, digest in self.answers if status == 200 and of == release}

    def _stalled(self, begin: float, end: float) -> float:
        return sum(max(0.0, min(end, b) - max(begin, a)) for a, b in self.stalls)


def read(path: Path) -> Asked:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Asked(
        [tuple(line["answer"]) for line in lines if "answer" in line],
        [tuple(line["stall"]) for line in lines if "stall" in line],
    )


def ask(connection: http.client.HTTPConnection, algorithm: str, picture: bytes) -> tuple[float, int, str, str]:
    try:
        connection.request("POST", f"/v1/algorithms/{algorithm}:infer", picture, {"Content-Type": "image/png"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return time.monotonic(), 0, type(error).__name__, ""
    digest = hashlib.sha256(body).hexdigest()
    return time.monotonic(), response.status, response.getheader("X-Lode-Release") or "", digest


def main(address: str, algorithm: str, picture: bytes, out: Path) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    stalls = []

    def watch() -> None:
        while not ended.is_set():
            begin = time.monotonic()
            time.sleep(0.005)
            late = time.monotonic() - begin - 0.005
            if late > _STALL_S:
                stalls.append((begin, begin + late))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    connection = http.client.HTTPConnection(address, timeout=10)
    with out.open("w") as file:
        due = time.monotonic()
        while not ended.is_set():
            file.write(json.dumps({"answer": ask(connection, algorithm, picture)}) + "\n")
            file.flush()
            due = max(due + EACH_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        for stall in stalls:
            file.write(json.dumps({"stall": stall}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes(), Path(sys.argv[4]))
