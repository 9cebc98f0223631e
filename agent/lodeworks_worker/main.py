"""`lode-worker enroll | run | status | doctor`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_FAILED = 1
_EXTRA = "lode-worker needs more than is installed ({name} is missing): pip install 'lodeworks-platform[worker]'"


def run() -> None:
    """Runs the program and ends it with its exit code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns 0, 1 failed, 2 wrong use, 4 refused, 5 controller unreachable."""
    given = _parser().parse_args(arguments)
    try:
        from lodeworks_worker import commands  # noqa: PLC0415 - what it imports may be missing: that is said below
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lodeworks"):
            raise
        print(_EXTRA.format(name=error.name), file=sys.stderr)  # noqa: T201
        return _FAILED
    return commands.execute(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lode-worker",
        description="Takes tasks from a controller and runs executors.",
        epilog="Every option is also LODE_WORKER_<OPTION>, and a key of worker.toml in the state folder; flags win.",
    )
    parser.add_argument("--state", help="folder of identity, journal, cache and runs")
    parser.add_argument("--config", type=Path, help="TOML file; default worker.toml in the state folder")
    commands = parser.add_subparsers(dest="command", required=True)
    enroll = commands.add_parser("enroll", help="trade a one-time token for an identity")
    enroll.add_argument("server", metavar="SERVER", help="host:port of the controller")
    enroll.add_argument("--token", required=True, help="one-time token from `lode worker add NAME`")
    enroll.add_argument(
        "--ca", dest="ca_fingerprint", required=True, metavar="SHA256", help="sha256:… of the installation's authority"
    )
    enroll.add_argument("--force", action="store_true", help="enrol again where an identity is there already")
    work = commands.add_parser("run", help="work until SIGTERM; runs live on")
    work.add_argument("--max-runs", type=int, help="how many runs at once")
    work.add_argument("--drivers", help="process,docker,fake")
    work.add_argument("--cache-bytes", type=int, help="bound of the cache")
    work.add_argument("--store", metavar="FOLDER", help="the controller's folder of content, if this machine sees it")
    work.add_argument("--log-level", help="DEBUG, INFO, WARNING")
    for name, text in (("status", "show identity and held runs"), ("doctor", "check everything a worker needs")):
        one = commands.add_parser(name, help=text)
        one.add_argument("-o", "--output", choices=("table", "json"), default="table")
    for one in commands.choices.values():
        one.add_argument("--state", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        one.add_argument("--config", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    run()
