"""Other task queues, each in an environment of its own below a cache folder; measured beside ours in the same run."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from task_queues.postgres import SkippedError, durable_postgres

PROGRAMS = Path(__file__).with_name("peer_programs")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lodeworks" / "benchmarks"
REDIS_PORT = 6390
INSTALL_S = 600.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A task queue that people know."""

    name: str
    requirements: tuple[str, ...]
    store: str
    durable: bool


PEERS = (
    Peer("Celery + Redis", ("celery==5.6.*", "redis>=5,<7", "packaging"), "redis", durable=True),
    Peer("Dramatiq + Redis", ("dramatiq[redis]==2.*",), "redis", durable=True),
    Peer("Procrastinate + PostgreSQL", ("procrastinate==3.*", "psycopg[binary,pool]"), "postgresql", durable=True),
    Peer("Ray", ("ray==2.*",), "", durable=False),
)


def environment(peer: Peer) -> Path:
    """Returns the Python of a peer's environment, making it where it is missing; raises SkippedError."""
    folder = CACHE / peer.name.split()[0].lower()
    python = folder / "bin" / "python"
    stamp = folder / "requirements"
    if stamp.exists() and stamp.read_text() == " ".join(peer.requirements):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    commands = ([sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", "-q"])
    for command, more in zip(commands, ((), peer.requirements), strict=True):
        try:
            done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise SkippedError("its packages were not installed in time") from None
        if done.returncode:
            raise SkippedError(f"its packages cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    stamp.write_text(" ".join(peer.requirements))
    return python


@contextmanager
def _process(command: Sequence[str], *, log: Path, **more: object) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        started = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **more)  # type: ignore[call-overload]
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, 9)
            started.wait()


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """Starts a Redis that syncs its log each second, as it does by default where it is durable at all."""
    program = shutil.which("redis-server")
    if program is None:
        raise SkippedError("there is no redis-server; apt-get install redis-server")
    command = [program, "--port", str(REDIS_PORT), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    with _process(command, log=folder / "redis.log"):
        time.sleep(1.0)
        yield f"redis://127.0.0.1:{REDIS_PORT}/0"


def measure(peer: Peer, *, folder: Path, tasks: int, latencies: int) -> dict[str, object]:
    """Returns `per_s` and `latencies_s` of a peer; raises SkippedError."""
    python = environment(peer)
    log = folder / "peer.log"
    numbers = [str(tasks), str(latencies)]
    with ExitStack() as stack:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LODE_")}
        if peer.store:
            store = _redis(folder) if peer.store == "redis" else durable_postgres()
            kept["PEER_URL"] = stack.enter_context(store)
        worker, client = _commands(peer, python, numbers)
        if peer.store == "postgresql":
            prepared = [str(python), "procrastinate_peer.py", "prepare"]
            subprocess.run(prepared, cwd=PROGRAMS, env=kept, check=True, capture_output=True)
        if worker:
            stack.enter_context(_process(worker, log=log, cwd=PROGRAMS, env=kept))
        done = subprocess.run(client, cwd=PROGRAMS, env=kept, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SkippedError(f"it failed: {(done.stderr.strip().splitlines() or [''])[-1]}; see {log}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _commands(peer: Peer, python: Path, numbers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns how a peer's worker and its measuring client are started."""
    run, here = [str(python)], str(python.parent)
    match peer.name.split()[0]:
        case "Celery":
            worker = [f"{here}/celery", "-A", "celery_peer", "worker", "-c", "2", "-l", "WARNING", "--without-gossip"]
            return [*worker, "--without-mingle"], [*run, "celery_peer.py", *numbers]
        case "Dramatiq":
            worker = [f"{here}/dramatiq", "dramatiq_peer", "-p", "2", "-t", "8"]
            return worker, [*run, "dramatiq_peer.py", *numbers]
        case "Procrastinate":
            program = [*run, "procrastinate_peer.py"]
            return [*program, "worker"], [*program, "measure", *numbers]
        case _:
            return [], [*run, "ray_peer.py", *numbers]
