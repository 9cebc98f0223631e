"""The commands of `lode-worker`, behind its parser."""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import socket
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from lodeworks.channel.diagnosis import probe

from lodeworks_worker import config as configuration
from lodeworks_worker import enrolment, worker
from lodeworks_worker.config import Config
from lodeworks_worker.drivers.base import Capabilities
from lodeworks_worker.errors import (
    ConfigError,
    EnrolmentError,
    RemovedError,
    RunningAlreadyError,
    SupersededError,
    UnreachableError,
    WorkerError,
)
from lodeworks_worker.journal import Journal

_DONE, _FAILED, _WRONG_USE, _REFUSED, _UNREACHABLE = 0, 1, 2, 4, 5
_ENOUGH_DISK_BYTES = 5_000_000_000


def execute(given: argparse.Namespace) -> int:
    """Runs a parsed command and returns its exit code; an error is one sentence on stderr."""
    commands: dict[str, Callable[[Config, argparse.Namespace], Awaitable[int]]] = {
        "enroll": _enroll,
        "run": _run,
        "status": _status,
        "doctor": _doctor,
    }
    keys = ("state", "max_runs", "drivers", "cache_bytes", "log_level")
    try:
        config = configuration.load({key: getattr(given, key, None) for key in keys}, file=given.config)
        return asyncio.run(_finished(commands[given.command](config, given)))
    except ConfigError as error:
        _complain(error)
        return _WRONG_USE
    except (EnrolmentError, RemovedError, RunningAlreadyError, SupersededError) as error:
        _complain(error)
        return _REFUSED
    except UnreachableError as error:
        _complain(error)
        return _UNREACHABLE
    except (WorkerError, OSError, sqlite3.Error) as error:
        _complain(error)
        return _FAILED


async def _finished(command: Awaitable[int]) -> int:
    return await command


async def _enroll(config: Config, given: argparse.Namespace) -> int:
    folder = worker.identity_folder(config)
    if (folder / "worker.json").exists() and not given.force:
        known = enrolment.load_identity(folder)
        raise EnrolmentError(f"this worker is {known.name} of {known.server} already; enrol again with --force")
    identity = await enrolment.enrol(
        folder,
        server=given.server,
        token=given.token,
        ca_fingerprint=given.ca_fingerprint,
        hostname=socket.gethostname(),
    )
    _say(f"enrolled as {identity.name} ({identity.worker_id}); start it with: lode-worker run --state {config.state}")
    return _DONE


async def _run(config: Config, _: argparse.Namespace) -> int:
    logging.basicConfig(
        level=config.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    log = logging.getLogger("lodeworks_worker")
    with worker.only_one(config.state):
        working = asyncio.ensure_future(worker.work(config, log=log))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, working.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await working
        log.info("stopped; what runs lives on until the next start")
    return _DONE


async def _status(config: Config, given: argparse.Namespace) -> int:
    identity = enrolment.load_identity(worker.identity_folder(config))
    told = json.loads(worker.describe(identity))
    told["state"] = str(config.state)
    told["running"] = worker.is_running(config.state)
    told["runs"] = []
    if (config.state / "journal.db").exists():
        journal = Journal(config.state / "journal.db")
        for entry in await journal.entries():
            grant = entry.grant
            told["runs"].append(
                {"run": grant.name, "executor": grant.run.executor, "phase": entry.phase.value, "title": grant.title}
            )
        await journal.close()
    if given.output == "json":
        _say(json.dumps(told))
        return _DONE
    for key, value in told.items():
        if key != "runs":
            _say(f"{key:18} {value}")
    for one in told["runs"]:
        _say(f"{'run':18} {one['run']} {one['executor']} {one['phase']} {one['title']}".rstrip())
    return _DONE


async def _doctor(config: Config, given: argparse.Namespace) -> int:
    config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    findings = [*_check_identity(config), *_check_disk(config)]
    drivers = worker.make_drivers(
        config, worker_id="doctor", runs_folder=config.state / "runs", log=logging.getLogger("lodeworks_worker")
    )
    taken, _, told = await worker.survey(config, drivers)
    findings += [(one.name, one.unavailable is None, _driver_line(one)) for one in told]
    findings += [(name, True, "offered") for name in taken.capabilities if not name.startswith("driver:")]
    findings += [
        (name, None, reason) for name, reason in sorted(taken.missing.items()) if not name.startswith("driver:")
    ]
    findings.append(("gpu", True if taken.gpus else None, ", ".join(gpu.model for gpu in taken.gpus) or "none found"))
    if given.output == "json":
        _say(json.dumps([{"check": name, "ok": fine, "detail": detail} for name, fine, detail in findings]))
    else:
        for name, fine, detail in findings:
            _say(f"{'ok  ' if fine else 'note' if fine is None else 'FAIL'} {name:20} {detail}")
    return _FAILED if any(fine is False for name, fine, _ in findings if name != "docker") else _DONE


def _check_identity(config: Config) -> list[tuple[str, bool | None, str]]:
    try:
        identity = enrolment.load_identity(worker.identity_folder(config))
    except EnrolmentError as error:
        return [("identity", False, str(error))]
    end = identity.valid[1]
    ended = datetime.now(UTC) >= end
    findings: list[tuple[str, bool | None, str]] = [
        ("identity", True, f"{identity.name} ({identity.worker_id})"),
        ("certificate", None if ended else True, f"{'ended' if ended else 'holds until'} {end:%Y-%m-%d}"),
    ]
    trouble = probe(identity.agents, ca_pem=identity.ca_pem, certificate=identity.client_certificate)
    findings.append(("controller", trouble is None, str(trouble or f"answers at {identity.agents}")))
    return findings


def _check_disk(config: Config) -> list[tuple[str, bool | None, str]]:
    free = worker.free_disk_bytes(config)
    enough = free >= _ENOUGH_DISK_BYTES
    return [("disk", True if enough else None, f"{free / 1e9:.1f} GB free in {config.state}")]


def _driver_line(told: Capabilities) -> str:
    return told.unavailable or f"ready {told.version}".strip()


def _say(text: str) -> None:
    print(text)  # noqa: T201 - this is the program's output


def _complain(error: Exception) -> None:
    print(f"lode-worker: {error}", file=sys.stderr)  # noqa: T201 - this is the program's output
