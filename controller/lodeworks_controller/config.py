"""The controller's configuration: flags over ``LODE_*`` variables over a TOML file over defaults. The only reader."""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from socket import gethostname
from typing import Any

from lodeworks_controller.errors import InvalidError

PLACE = "installation.toml"
"""The file of the state folder that says where the rest of the installation is."""


@dataclass(frozen=True, slots=True)
class Config:
    """Where the controller keeps its state, and where it listens."""

    state: Path = Path("/var/lib/lodeworks/controller")
    database_url: str = ""
    """``postgresql://…`` for several controllers; empty = SQLite in the state folder, for exactly one."""
    shared: str = ""
    """A folder that all controllers of the installation see: its content, trust and logs. Empty = the state folder."""
    blobs_url: str = ""
    """``s3://bucket/prefix`` keeps content in an object store; empty = a folder. Keys and endpoint: the environment."""
    cache_bytes: int = 20 * 1024**3
    """What local copies of content may take where the content is in an object store."""
    listen: str = "0.0.0.0:7443"
    """For people, and for enrolment."""
    listen_agents: str = "0.0.0.0:7444"
    """For workers and devices with their certificates."""
    listen_metrics: str = "127.0.0.1:9464"
    """Plain text for a collector of metrics; empty = none."""
    addresses: tuple[str, ...] = ()
    """``host:port`` of every controller of the installation, for people; empty = only where this one is reached."""
    agent_addresses: tuple[str, ...] = ()
    """The same for workers and devices."""
    names: tuple[str, ...] = ()
    """Names and addresses under which others reach this controller, beside the host's own."""
    webhook_networks: tuple[str, ...] = ()
    """Networks (CIDR) that webhooks may reach though they are this machine's or its link's."""
    log_level: str = "INFO"
    log_format: str = "text"
    """text or json."""
    drain_s: float = 0.0
    """How long a controller that stops goes on serving after it has said that it does not: for balancers to notice."""
    synchronous: str = "FULL"
    """How durable SQLite's commits are: FULL survives a power cut, NORMAL may lose the last moments in one."""
    pool_processes: int = 2
    pool_memory_bytes: int = 2 * 1024**3
    finish_at_once: int = 4
    grace_s: float = 5.0
    """How long running calls may take to end when the controller stops."""

    @property
    def database(self) -> Path:
        """The database file, where it is SQLite's."""
        return self.state / "lode.db"

    @property
    def database_address(self) -> Path | str:
        """Where the database is: a file of SQLite, or the address of a PostgreSQL one."""
        return self.database_url or self.database

    @property
    def shared_folder(self) -> Path:
        """The folder of what all controllers of the installation have in common."""
        return Path(self.shared) if self.shared else self.state

    @property
    def controller_name(self) -> str:
        """What this controller is called among the others; the same after each start."""
        place = hashlib.sha256(f"{gethostname()}:{self.state}".encode()).hexdigest()[:8]
        return f"{gethostname()[:60]}-{place}"

    @property
    def trust(self) -> Path:
        """The folder of keys and certificates."""
        return self.shared_folder / "trust"

    @property
    def blobs(self) -> Path:
        """The folder of content."""
        return self.shared_folder / "blobs"

    @property
    def object_folder(self) -> Path:
        """The folder of unfinished writes and local copies, where content is in an object store; not shared."""
        return self.state / "objects"

    @property
    def logs(self) -> Path:
        """The folder of logs and metric series."""
        return self.shared_folder / "logs"

    @property
    def scratch(self) -> Path:
        """The folder of this controller's files in the making, on the filesystem of the content."""
        return self.shared_folder / "scratch" / self.controller_name if self.shared else self.state / "scratch"


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
    config = replace(Config(), **{name: _convert(name, value) for name, value in found.items()})
    # What `init` was told of the installation need not be said again.
    kept = _read(config.state / PLACE) if (config.state / PLACE).is_file() else {}
    return replace(config, **{name: _convert(name, value) for name, value in kept.items() if name not in found})


def object_store_options() -> Mapping[str, str]:
    """Returns how to reach the object store: the variables that every S3 program knows; those that are set."""
    variables = {
        "endpoint": "AWS_ENDPOINT_URL",
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN",
        "region": "AWS_REGION",
    }
    return {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}


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
        if name == "shared":
            return str(Path(value).expanduser().absolute()) if value else ""
        if isinstance(default, tuple):
            return tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(value)
        return type(default)(value)
    except (TypeError, ValueError):
        raise InvalidError("CONFIG_INVALID", f"{name} cannot be {value!r}", field=name) from None
