"""`lode-device enroll | run | status | doctor | shutdown`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_FAILED = 1
_EXTRA = "lode-device needs more than is installed ({name} is missing): pip install 'lodeworks-platform[device]'"


def run() -> None:
    """Runs the program and ends it with its exit code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns 0, 1 failed, 2 wrong use, 4 refused, 5 controller unreachable."""
    given = _parser().parse_args(arguments)
    try:
        from lodeworks_device import commands  # noqa: PLC0415 - what it imports may be missing: that is said below
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lodeworks"):
            raise
        print(_EXTRA.format(name=error.name), file=sys.stderr)  # noqa: T201
        return _FAILED
    return commands.execute(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lode-device",
        description="Pulls, proves and serves algorithms on this device.",
        epilog="Every option is also LODE_DEVICE_<OPTION>, and a key of device.toml in the state folder; flags win.",
    )
    parser.add_argument("--state", help="folder of identity, packages and everything else that the device keeps")
    parser.add_argument("--config", type=Path, help="TOML file; default device.toml in the state folder")
    commands = parser.add_subparsers(dest="command", required=True)
    enroll = commands.add_parser("enroll", help="trade a one-time token for an identity")
    enroll.add_argument("server", metavar="SERVER", help="host:port of the controller")
    enroll.add_argument("--ca", required=True, metavar="sha256:…", help="fingerprint of the installation's authority")
    enroll.add_argument("--token", required=True, help="one-time token from `lode device add NAME`")
    enroll.add_argument("--force", action="store_true", help="enrol again where an identity is there already")
    work = commands.add_parser("run", help="work until SIGTERM; what it serves goes on being served")
    work.add_argument("--http-listen", help="host:port of the HTTP front; port 0 = a free one, chosen once and kept")
    work.add_argument("--threads", type=int, help="of each network")
    work.add_argument("--log-level", help="DEBUG, INFO, WARNING")
    for name, text in (("status", "show what runs here"), ("doctor", "check everything a device needs")):
        one = commands.add_parser(name, help=text)
        one.add_argument("-o", "--output", choices=("table", "json"), default="table")
    commands.add_parser("shutdown", help="end agent, front and algorithms of the state folder")
    for one in commands.choices.values():
        one.add_argument("--state", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        one.add_argument("--config", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    run()
