"""The commands of `lode-device`, behind its parser."""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from lodeworks.channel.diagnosis import probe

from lodeworks_device import agent, enrolment
from lodeworks_device import config as configuration
from lodeworks_device.capabilities import free_disk_bytes, survey
from lodeworks_device.config import Config
from lodeworks_device.errors import AlreadyRunningError, ConfigError, DeviceError, EnrolmentError, UnreachableError
from lodeworks_device.store.state_file import look

_DONE, _FAILED, _WRONG_USE, _REFUSED, _UNREACHABLE = 0, 1, 2, 4, 5
_ENOUGH_DISK_BYTES = 1_000_000_000
_END_WITHIN_S = 20.0


def execute(given: argparse.Namespace) -> int:
    """Runs a parsed command and returns its exit code; an error is one sentence on stderr."""
    commands: dict[str, Callable[[Config, argparse.Namespace], Awaitable[int]]] = {
        "enroll": _enroll,
        "run": _run,
        "status": _status,
        "doctor": _doctor,
        "shutdown": _shut_down,
    }
    keys = ("state", "http_listen", "threads", "log_level")
    try:
        config = configuration.load({key: getattr(given, key, None) for key in keys}, file=given.config)
        return asyncio.run(_finished(commands[given.command](config, given)))
    except ConfigError as error:
        _complain(error)
        return _WRONG_USE
    except (AlreadyRunningError, EnrolmentError) as error:
        _complain(error)
        return _REFUSED
    except UnreachableError as error:
        _complain(error)
        return _UNREACHABLE
    except (DeviceError, OSError) as error:
        _complain(error)
        return _FAILED


async def _finished(command: Awaitable[int]) -> int:
    return await command


async def _enroll(config: Config, given: argparse.Namespace) -> int:
    folder = agent.identity_folder(config)
    if (folder / "device.json").exists() and not given.force:
        known = enrolment.load_identity(folder)
        raise EnrolmentError(f"this device is {known.name} of {known.server} already; enrol again with --force")
    identity = await enrolment.enrol(
        folder, server=given.server, token=given.token, ca_fingerprint=given.ca, hostname=socket.gethostname()
    )
    _say(f"enrolled as {identity.name} ({identity.device_id}); start it with: lode-device run --state {config.state}")
    return _DONE


async def _run(config: Config, _: argparse.Namespace) -> int:
    logging.basicConfig(
        level=config.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    log = logging.getLogger("lodeworks_device")
    identity = enrolment.load_identity(agent.identity_folder(config))
    with agent.only_one(config.state):
        made = agent.Agent(config, identity, clock=agent.wall_clock, log=log)
        working = asyncio.ensure_future(made.work())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, working.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await working
        log.info("stopped; what is served goes on being served")
    return _DONE


async def _status(config: Config, given: argparse.Namespace) -> int:
    identity = enrolment.load_identity(agent.identity_folder(config))
    supervisor = agent.make_supervisor(config)
    told: dict[str, Any] = {
        "device": identity.name,
        "device_id": identity.device_id,
        "controller": identity.agents,
        "certificate_end": identity.valid[1].isoformat(),
        "state": str(config.state),
        "agent": agent.running_agent(config.state) is not None,
        "front": supervisor.front is not None,
        "http_address": supervisor.http_address,
        "generation": 0,
        "algorithms": [],
    }
    stored = look(config.state)
    told["generation"] = stored.generation
    for name, state in sorted(stored.algorithms.items()):
        active = state.served.release if state.served else ""
        entry = {"name": name, "phase": state.phase.value, "active": active, "message": state.message}
        told["algorithms"].append(entry)
    if given.output == "json":
        _say(json.dumps(told))
        return _DONE
    for key, value in told.items():
        if key != "algorithms":
            _say(f"{key:18} {value}")
    for one in told["algorithms"]:
        _say(f"{'algorithm':18} {one['name']} {one['active'] or '-'} {one['phase']} {one['message']}".rstrip())
    return _DONE


async def _doctor(config: Config, given: argparse.Namespace) -> int:
    config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = free_disk_bytes(config.state)
    capabilities = await survey(config.state)
    runtimes = ", ".join(f"{name} {version}" for name, version in sorted(capabilities.runtimes.items()))
    supervisor = agent.make_supervisor(config)
    findings = [
        *_check_identity(config),
        ("disk", free >= _ENOUGH_DISK_BYTES or None, f"{free / 1e9:.1f} GB free in {config.state}"),
        ("runtimes", bool(runtimes), runtimes or "none: pip install 'lodeworks-platform[device]'"),
        ("agent", agent.running_agent(config.state) is not None or None, "lode-device run"),
        ("front", supervisor.front is not None or None, supervisor.http_address),
    ]
    if given.output == "json":
        _say(json.dumps([{"check": name, "ok": fine, "detail": detail} for name, fine, detail in findings]))
    else:
        for name, fine, detail in findings:
            _say(f"{'ok  ' if fine else 'note' if fine is None else 'FAIL'} {name:12} {detail}")
    return _FAILED if any(fine is False for _, fine, _ in findings) else _DONE


async def _shut_down(config: Config, _: argparse.Namespace) -> int:
    running = agent.running_agent(config.state)
    if running is not None:
        running.send(signal.SIGTERM)
        if not await asyncio.to_thread(running.wait, _END_WITHIN_S):
            running.send(signal.SIGKILL)
    # With the agent gone nobody starts them again.
    with agent.only_one(config.state):
        await asyncio.to_thread(agent.make_supervisor(config).shut_down)
    return _DONE


def _check_identity(config: Config) -> list[tuple[str, bool | None, str]]:
    try:
        identity = enrolment.load_identity(agent.identity_folder(config))
    except EnrolmentError as error:
        return [("identity", False, str(error))]
    end = identity.valid[1]
    ended = agent.wall_clock() >= end
    trouble = probe(identity.agents, ca_pem=identity.ca_pem, certificate=identity.client_certificate)
    return [
        ("identity", True, f"{identity.name} ({identity.device_id})"),
        ("certificate", None if ended else True, f"{'ended' if ended else 'holds until'} {end:%Y-%m-%d}"),
        ("controller", trouble is None, str(trouble or f"answers at {identity.agents}")),
    ]


def _say(text: str) -> None:
    print(text)  # noqa: T201 - this is the program's output


def _complain(error: Exception) -> None:
    print(f"lode-device: {error}", file=sys.stderr)  # noqa: T201 - this is the program's output
