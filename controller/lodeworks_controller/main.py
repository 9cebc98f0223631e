"""``lode-controller init | serve | backup | verify | restore | upgrade | migrate | doctor``."""

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lodeworks_controller.config import Config, load_config
from lodeworks_controller.errors import ConflictError, InvalidError, LodeworksError, NotFoundError, UnavailableError
from lodeworks_controller.log_lines import start_log
from lodeworks_controller.state_lock import Note, locked, read_note, remove_note, write_note

_FAILED = 1
_REFUSED = 4


def _now() -> datetime:
    return datetime.now(UTC)


def run() -> None:
    """Runs the program named on the command line."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 wrong use, 4 refused."""
    parsed = _parser().parse_args(arguments)
    flags = vars(parsed)
    try:
        config = load_config(flags, file=flags.pop("config"))
        _start_log(config)
        return int(parsed.command(config, flags))
    except LodeworksError as error:
        sys.stderr.write(f"lode-controller: {error.message}\n")
        return _REFUSED
    except ImportError as error:
        sys.stderr.write(
            f"lode-controller: {error.name or error} is missing; run pip install 'lodeworks-platform[controller]'\n"
        )
        return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lode-controller", description="Owns projects, catalogue and tasks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--state", help="folder of everything that the controller keeps")
    shared.add_argument(
        "--database",
        dest="database_url",
        metavar="URL",
        help="postgresql://user:password@host/name for several controllers; default: SQLite in the state folder",
    )
    shared.add_argument("--shared", metavar="FOLDER", help="folder of content and trust that all controllers see")
    shared.add_argument("--blobs", dest="blobs_url", metavar="URL", help="s3://BUCKET/PREFIX; default: a folder")
    shared.add_argument("--config", type=Path, help="TOML file; flags and LODE_* variables win")
    shared.add_argument(
        "--log-format", dest="log_format", choices=["text", "json"], help="lines for people or programs"
    )
    shared.add_argument("--log-level", dest="log_level", help="DEBUG, INFO, WARNING or ERROR")

    init = commands.add_parser("init", parents=[shared], help="make an installation; harmless to repeat")
    init.add_argument("--administrator", default="local", help="name of the first administrator")
    init.add_argument("--project", default="default", help="name of the first project; empty for none")
    init.add_argument("--json", action="store_true", help="answer one JSON document")
    init.set_defaults(command=_init)

    serve = commands.add_parser("serve", parents=[shared], help="listen until told to stop")
    serve.add_argument("--listen", help="host:port for people and enrolment; port 0 takes a free one")
    serve.add_argument("--listen-agents", dest="listen_agents", help="host:port for workers and devices")
    serve.add_argument("--listen-metrics", dest="listen_metrics", help="host:port for metrics; empty for none")
    serve.add_argument("--name", dest="names", action="append", help="a name under which others reach this controller")
    serve.add_argument(
        "--address", dest="addresses", action="append", metavar="HOST:PORT", help="a controller of this installation"
    )
    serve.add_argument(
        "--agents-address", dest="agent_addresses", action="append", metavar="HOST:PORT", help="the same, for agents"
    )
    serve.set_defaults(command=_serve)

    backup = commands.add_parser("backup", parents=[shared], help="copy the whole installation, while it runs")
    backup.add_argument("folder", type=Path, help="a folder that is not there yet")
    backup.add_argument("--copy", action="store_true", help="copy content that could be linked")
    backup.set_defaults(command=_backup)
    verify = commands.add_parser("verify", parents=[shared], help="look whether a backup is whole")
    verify.add_argument("folder", type=Path, help="the backup")
    verify.set_defaults(command=_verify)
    restore = commands.add_parser("restore", parents=[shared], help="bring a backup back to where nothing is")
    restore.add_argument("folder", type=Path, help="the backup")
    restore.set_defaults(command=_restore)
    upgrade = commands.add_parser("upgrade", parents=[shared], help="copy the database, then migrate it")
    upgrade.add_argument("--copies", type=Path, help="where the copy goes; default: backups in the state folder")
    upgrade.set_defaults(command=_upgrade)
    migrate = commands.add_parser("migrate", parents=[shared], help="bring the database to the newest schema")
    migrate.set_defaults(command=_migrate)
    doctor = commands.add_parser("doctor", parents=[shared], help="look for what is wrong here")
    doctor.set_defaults(command=_doctor)
    return parser


def _start_log(config: Config) -> None:
    level = logging.getLevelNamesMapping().get(config.log_level.upper(), logging.INFO)
    start_log(level=level, style=config.log_format)
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))


def _init(config: Config, flags: dict[str, Any]) -> int:
    from lodeworks_controller.storage.database.migration import migrate  # noqa: PLC0415 (only this command pays)
    from lodeworks_controller.trust.installation import create_trust  # noqa: PLC0415
    from lodeworks_controller.wiring.place import check_place, remember_place  # noqa: PLC0415

    check_place(config)
    config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(config.state):
        migrate(config.database_address)
        config.shared_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(config.shared_folder) if config.shared else nullcontext():
            trust = create_trust(config.trust, clock=_now)
        remember_place(config)
        token = asyncio.run(_bootstrap(config, flags["administrator"], flags["project"]))
    answer = {
        "state": str(config.state),
        "user": flags["administrator"],
        "token": token,
        "ca_fingerprint": trust.authority.fingerprint,
    }
    if flags["json"]:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        sys.stdout.write("".join(f"{key}: {value}\n" for key, value in answer.items()))
        sys.stdout.write(f"next: lode-controller serve --state {config.state}\n")
    return 0


async def _bootstrap(config: Config, administrator: str, project: str) -> str:
    from lodeworks_controller.wiring.bootstrap import bootstrap  # noqa: PLC0415

    return await bootstrap(config, administrator=administrator, project=project, clock=_now)


def _serve(config: Config, flags: dict[str, Any]) -> int:
    del flags
    from lodeworks_controller.storage.segments.pool import Pool  # noqa: PLC0415
    from lodeworks_controller.wiring.place import check_place, require_installation  # noqa: PLC0415

    check_place(config)
    require_installation(config)
    with locked(config.state):
        # Before grpc is imported: its threads do not survive the making of processes.
        pool = Pool(processes=config.pool_processes, memory_bytes=config.pool_memory_bytes).start()
        try:
            return asyncio.run(_serve_until_stopped(config, pool))
        finally:
            pool.close()
            remove_note(config.state)


async def _serve_until_stopped(config: Config, pool: Any) -> int:
    # They import grpc, which may come only after the pool has started.
    from lodeworks_controller.storage.database.migration import check_schema  # noqa: PLC0415
    from lodeworks_controller.wiring.controller import Controller  # noqa: PLC0415
    from lodeworks_controller.wiring.ground import grounded  # noqa: PLC0415
    from lodeworks_controller.wiring.version import program_version  # noqa: PLC0415

    await asyncio.to_thread(check_schema, config.database_address)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with grounded(config, clock=_now, pool=pool) as ground:
        controller = Controller(ground)
        async with controller.serving() as served:
            note = Note(
                pid=os.getpid(),
                version=program_version(),
                listen=_with_port(config.listen, served.listen_port),
                listen_agents=_with_port(config.listen_agents, served.agents_port),
                ca_fingerprint=served.ca_fingerprint,
            )
            await asyncio.to_thread(write_note, config.state, note)
            sys.stdout.write(f"ready: people {note.listen}, agents {note.listen_agents}\n")
            sys.stdout.flush()
            await stop.wait()
            logging.getLogger(__name__).info("stopping")
    return 0


def _with_port(listen: str, port: int) -> str:
    return f"{listen.rpartition(':')[0]}:{port}"


def _migrate(config: Config, flags: dict[str, Any]) -> int:
    del flags
    from lodeworks_controller.storage.database.migration import migrate  # noqa: PLC0415
    from lodeworks_controller.wiring.place import require_installation  # noqa: PLC0415

    require_installation(config)
    with locked(config.state):
        revision = migrate(config.database_address)
    sys.stdout.write(f"the database is at revision {revision or 'none'}\n")
    return 0


def _backup(config: Config, flags: dict[str, Any]) -> int:
    from lodeworks_controller.wiring.maintenance import back_up  # noqa: PLC0415

    taken = back_up(config, flags["folder"], clock=_now, linked=not flags["copy"])
    sys.stdout.write(f"backup: {flags['folder']}\n{_contents(taken)}")
    for digest in taken.missing:
        sys.stdout.write(f"BAD  the database refers to content {digest}, and the store has it not\n")
    sys.stdout.write("keep it as secret as the state folder: it holds the keys of the installation\n")
    return _FAILED if taken.missing else 0


def _verify(config: Config, flags: dict[str, Any]) -> int:
    del config
    from lodeworks_controller.storage.backup.manifest import verify  # noqa: PLC0415

    manifest, wrong = verify(flags["folder"])
    sys.stdout.write(_contents(manifest) + "".join(f"BAD  {text}\n" for text in wrong))
    sys.stdout.write("damaged\n" if wrong else "whole: every byte is as it was\n")
    return _FAILED if wrong else 0


def _restore(config: Config, flags: dict[str, Any]) -> int:
    from lodeworks_controller.wiring.maintenance import restore  # noqa: PLC0415

    manifest = restore(config, flags["folder"], clock=_now)
    sys.stdout.write(f"restored to {config.state}\n{_contents(manifest)}")
    sys.stdout.write(f"next: lode-controller serve --state {config.state}\n")
    return 0


def _upgrade(config: Config, flags: dict[str, Any]) -> int:
    from lodeworks_controller.wiring.maintenance import upgrade  # noqa: PLC0415

    with locked(config.state):
        before, now, copy = upgrade(config, clock=_now, folder=flags["copies"])
    if copy is None:
        sys.stdout.write(f"the database is at revision {now} already\n")
    else:
        sys.stdout.write(f"copy: {copy}\nthe database went from revision {before or 'none'} to {now}\n")
    return 0


def _contents(manifest: Any) -> str:
    return (
        f"taken {manifest.created_at} by {manifest.program}, schema {manifest.revision}, {manifest.database}\n"
        f"{manifest.blobs} blobs, {manifest.blob_bytes} bytes; {len(manifest.files)} other files\n"
    )


@dataclass(frozen=True, slots=True)
class _Finding:
    good: bool
    text: str


def _doctor(config: Config, flags: dict[str, Any]) -> int:
    del flags
    findings = [_look_at_state(config)]
    if findings[0].good:
        findings += [_look_at_schema(config), _look_at_disk(config), _look_at_process(config)]
    for finding in findings:
        sys.stdout.write(f"{'ok  ' if finding.good else 'BAD '} {finding.text}\n")
    return 0 if all(finding.good for finding in findings) else _FAILED


def _look_at_state(config: Config) -> _Finding:
    from lodeworks_controller.wiring.place import require_installation  # noqa: PLC0415

    try:
        require_installation(config)
    except NotFoundError:
        return _Finding(good=False, text=f"no installation at {config.state}; run `lode-controller init`")
    mode = config.state.stat().st_mode & 0o077
    if mode:
        return _Finding(good=False, text=f"{config.state} can be read by others; run `chmod 700 {config.state}`")
    return _Finding(good=True, text=f"state {config.state}")


def _look_at_schema(config: Config) -> _Finding:
    from lodeworks_controller.storage.database.migration import check_schema, current_revision  # noqa: PLC0415
    from lodeworks_controller.wiring.place import shown  # noqa: PLC0415

    try:
        check_schema(config.database_address)
        revision = current_revision(config.database_address) or "without migrations"
    except (ConflictError, UnavailableError, InvalidError) as error:
        return _Finding(good=False, text=error.message)
    return _Finding(good=True, text=f"schema {revision} in {shown(config)}")


def _look_at_disk(config: Config) -> _Finding:
    free = shutil.disk_usage(config.shared_folder).free
    text = f"{free / 1024**3:.1f} GiB free on the disk of {config.shared_folder}"
    return _Finding(good=free > 1024**3, text=text)


def _look_at_process(config: Config) -> _Finding:
    try:
        with locked(config.state):
            return _Finding(good=True, text="no controller is running; start it with `lode-controller serve`")
    except ConflictError:
        note = read_note(config.state)
        return _Finding(good=True, text=f"running at {note.listen}" if note else "starting")
