"""The controller's configuration: flags over ``LODE_*`` variables over a TOML file over defaults. The only reader."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lodeworks_controller.errors import InvalidError


@dataclass(frozen=True, slots=True)
class Config:
    """Where the controller keeps its state, and where it listens."""

    state: Path = Path("/var/lib/lodeworks/controller")
    listen: str = "0.0.0.0:7443"
    """For people, and for enrolment."""
    listen_agents: str = "0.0.0.0:7444"
    """For workers and devices with their certificates."""
    listen_metrics: str = "127.0.0.1:9464"
    """Plain text for a collector of metrics; empty = none."""
    names: tuple[str, ...] = ()
    """Names and addresses under which others reach this controller, beside the host's own."""
    log_level: str = "INFO"
    pool_processes: int = 2
    pool_memory_bytes: int = 2 * 1024**3
    finish_at_once: int = 4
    grace_s: float = 5.0
    """How long running calls may take to end when the controller stops."""

    @property
    def database(self) -> Path:
        """The database file."""
        return self.state / "lode.db"

    @property
    def trust(self) -> Path:
        """The folder of keys and certificates."""
        return self.state / "trust"

    @property
    def blobs(self) -> Path:
        """The folder of content."""
        return self.state / "blobs"

    @property
    def logs(self) -> Path:
        """The folder of logs and metric series."""
        return self.state / "logs"


def load_config(flags: Mapping[str, Any], *, file: Path | None = None) -> Config:
    """Returns the configuration; flags that are None do not count."""
    found: dict[str, Any] = {}
    file = file or _path(os.environ.get("LODE_CONTROLLER_CONFIG"))
    if file is not None:
        found.update(_read(file))
    known = {field.name for field in fields(Config)}
    for name in known:
        value = os.environ.get(f"LODE_{name.upper()}")
        if value is not None:
            found[name] = value
    found.update({name: value for name, value in flags.items() if value is not None and name in known})
    return replace(Config(), **{name: _convert(name, value) for name, value in found.items()})


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _read(file: Path) -> Mapping[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise InvalidError("CONFIG_MISSING", f"there is no configuration file {file}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidError("CONFIG_INVALID", f"{file} is not TOML: {error}") from error
    unknown = set(values) - {field.name for field in fields(Config)}
    if unknown:
        raise InvalidError("CONFIG_INVALID", f"{file} sets what does not exist: {', '.join(sorted(unknown))}")
    return values


def _convert(name: str, value: Any) -> Any:
    default = getattr(Config(), name)
    try:
        if isinstance(default, Path):
            return Path(value).expanduser().absolute()
        if isinstance(default, tuple):
            return tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(value)
        return type(default)(value)
    except (TypeError, ValueError):
        raise InvalidError("CONFIG_INVALID", f"{name} cannot be {value!r}", field=name) from None
