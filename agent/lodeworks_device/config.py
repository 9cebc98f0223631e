"""The device's configuration: a TOML file, then LODE_DEVICE_* variables, then flags. The one reader of the environment.

state = "/var/lib/lodeworks/device"
http_listen = "127.0.0.1:8080"     # default 127.0.0.1:0, a free port that is chosen once and kept
threads = 1                        # of each network
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lodeworks_device.errors import ConfigError

PREFIX = "LODE_DEVICE_"
FILE_NAME = "device.toml"
_HIGHEST_PORT = 65535
_KEYS = frozenset({"state", "http_listen", "threads", "log_level"})
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Config:
    """How this device works."""

    state: Path
    http_listen: str = "127.0.0.1:0"
    threads: int = 1
    log_level: str = "INFO"


def load(flags: Mapping[str, Any], *, environ: Mapping[str, str] | None = None, file: Path | None = None) -> Config:
    """Returns the configuration; raises ConfigError with the key that is wrong.

    Args:
        flags: Values by key; None means not given.
        environ: Environment variables; default those of this process.
        file: The TOML file; default `device.toml` in the state folder, if it is there.
    """
    variables = os.environ if environ is None else environ
    given = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items() if name.startswith(PREFIX)}
    told = given.pop("config", None)
    file = file or (Path(told) if told else None)
    over = {**given, **{key: value for key, value in flags.items() if value is not None}}
    state = Path(str(over.get("state") or _default_state(variables)))
    values = {**_read(file or state / FILE_NAME, must_exist=file is not None), **over}
    if unknown := sorted(set(values) - _KEYS):
        raise ConfigError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    level = str(values.get("log_level", "INFO")).upper()
    if level not in _LEVELS:
        raise ConfigError(f"log_level: {level!r} is none of {', '.join(_LEVELS)}")
    return Config(
        state=Path(str(values.get("state") or state)).absolute(),
        http_listen=_address(str(values.get("http_listen", "127.0.0.1:0"))),
        threads=_whole(values.get("threads", 1)),
        log_level=level,
    )


def _read(path: Path, *, must_exist: bool) -> dict[str, Any]:
    if not must_exist and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _default_state(variables: Mapping[str, str]) -> Path:
    data = variables.get("XDG_DATA_HOME") or str(Path(variables.get("HOME", "/var/lib")) / ".local" / "share")
    return Path(data) / "lodeworks" / "device"


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _HIGHEST_PORT:
        raise ConfigError(f"http_listen must be host:port, such as 127.0.0.1:8080, not {text!r}")
    return text


def _whole(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ConfigError(f"threads must be a whole number above 0, not {value!r}")
    return number
