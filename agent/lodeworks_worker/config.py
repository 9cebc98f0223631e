"""The worker's configuration: a TOML file, then LODE_WORKER_* variables, then flags. The one reader of the environment.

state = "/var/lib/lodeworks/worker"
max_runs = 2
cache_bytes = 20000000000
drivers = ["process", "docker"]

store = "/var/lib/lodeworks/controller/blobs"   # the controller's folder of content, where this machine sees it

transfer_streams = 4                      # ranges of content that are fetched at a time

spool_bytes = 1073741824                  # how much output of a run waits for the controller; the middle goes first

import_roots = ["/data/pictures"]        # folders that imports may read with --on-worker; none by default
import_private_addresses = false         # whether imports may fetch from private networks and this machine
import_max_bytes = 1000000000000         # the most that an import fetches from an address

[labels]
room = "hall-2"

[environments]                 # interpreters, in the order of preference; default: the worker's own
"*" = ["/opt/lodeworks/bin/python"]
"executor:detector" = ["/opt/torch/bin/python"]

[executors.mine-own]           # any program that speaks the executor protocol, offered as executor:mine-own
command = ["/opt/own/bin/python", "/opt/own/start.py"]
private_mounts = true          # for programs that know /in and /out only

[registries."registry.example:5000"]  # where images come from that not everybody may have
username = "lodeworks"
password_file = "/etc/lodeworks/registry-password"

[[fake_gpus]]
uuid = "GPU-fake-0"
"""

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lodeworks.channel.streams import MOST_STREAMS, STREAMS

from lodeworks_worker.control_plane import Gpu
from lodeworks_worker.drivers.spool import DEFAULT_BYTES
from lodeworks_worker.errors import ConfigError
from lodeworks_worker.executors import Program

PREFIX = "LODE_WORKER_"
_DRIVERS = ("process", "docker", "fake")
_DEFAULT_CACHE_BYTES = 20_000_000_000
_DEFAULT_CHECKPOINT_S = 30
_DEFAULT_GPU_FREE_BYTES = 512 << 20
_LEAST_RUNS = 2
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "USER")
_KEYS = frozenset(
    {
        "state",
        "max_runs",
        "cache_bytes",
        "drivers",
        "labels",
        "environments",
        "executors",
        "fake_gpus",
        "registries",
        "checkpoint_s",
        "gpu_free_below_bytes",
        "docker_host",
        "docker_user",
        "log_level",
        "store",
        "transfer_streams",
        "spool_bytes",
        "import_roots",
        "import_private_addresses",
        "import_max_bytes",
    }
)


@dataclass(frozen=True, slots=True)
class Registry:
    """Who this worker is at a registry of images."""

    username: str
    password_file: str


@dataclass(frozen=True, slots=True)
class Config:
    """How this worker works.

    `program_environment` is what every program of it inherits, with what imports may reach.
    """

    state: Path
    max_runs: int
    cache_bytes: int = _DEFAULT_CACHE_BYTES
    drivers: tuple[str, ...] = ("process", "docker")
    labels: Mapping[str, str] = field(default_factory=dict)
    environments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    executors: Mapping[str, Program] = field(default_factory=dict)
    fake_gpus: tuple[Gpu, ...] = ()
    registries: Mapping[str, Registry] = field(default_factory=dict)
    """By host, with its port where it has one."""
    visible_gpus: tuple[str, ...] = ()
    """What a program that a worker started was given."""
    file: Path | None = None
    """The file that was read, for programs of this worker that read it again."""
    checkpoint_s: int = _DEFAULT_CHECKPOINT_S
    """How often it is looked for a new checkpoint of a run, to be sent to the controller."""
    gpu_free_below_bytes: int = _DEFAULT_GPU_FREE_BYTES
    """A GPU with more memory in use than this is not really free."""
    spool_bytes: int = DEFAULT_BYTES
    """How much output of one run, by the process driver, waits for the controller; beyond it the middle is dropped."""
    store: Path | None = None
    """The controller's folder of content, where this machine sees it; it is only read."""
    transfer_streams: int = STREAMS
    """Ranges of content that are fetched at a time; 1 to 32."""
    docker_host: str | None = None
    docker_user: str | None = None
    log_level: str = "INFO"
    program_environment: Mapping[str, str] = field(default_factory=dict)


def load(flags: Mapping[str, Any], *, environ: Mapping[str, str] | None = None, file: Path | None = None) -> Config:
    """Returns the configuration; raises ConfigError with the key that is wrong.

    Args:
        flags: Values by key; None means not given.
        environ: Environment variables; default those of this process.
        file: The TOML file; default `worker.toml` in the state folder, if it is there.
    """
    variables = os.environ if environ is None else environ
    given = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items() if name.startswith(PREFIX)}
    file = file or (Path(given.pop("config")) if "config" in given else None)
    over = {**given, **{key: value for key, value in flags.items() if value is not None}}
    state = Path(str(over.get("state") or _default_state(variables)))
    values = _read(file or state / "worker.toml", must_exist=file is not None)
    if "state" not in over and "state" in values:
        state = Path(str(values["state"]))
    read = file or state / "worker.toml"
    made = _made({**values, **over}, state=state.absolute(), variables=variables)
    return replace(made, file=read.absolute() if read.exists() else None)


def _read(path: Path, *, must_exist: bool) -> dict[str, Any]:
    if not must_exist and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); mend it, or name another with --config") from error


def _default_state(variables: Mapping[str, str]) -> Path:
    data = variables.get("XDG_DATA_HOME") or str(Path(variables.get("HOME", "/var/lib")) / ".local" / "share")
    return Path(data) / "lodeworks" / "worker"


def _made(values: Mapping[str, Any], *, state: Path, variables: Mapping[str, str]) -> Config:
    if unknown := sorted(set(values) - _KEYS):
        raise ConfigError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    drivers = _words(values.get("drivers", ["process", "docker"]), "drivers")
    if wrong := [name for name in drivers if name not in _DRIVERS]:
        raise ConfigError(f"drivers: {wrong[0]!r} is none of {', '.join(_DRIVERS)}")
    environments = {key: _words(paths, f"environments.{key}") for key, paths in _table(values, "environments").items()}
    environments.setdefault("*", (sys.executable,))
    return Config(
        state=state,
        max_runs=_whole(values, "max_runs", max(_LEAST_RUNS, (os.cpu_count() or 1) // 2)),
        cache_bytes=_whole(values, "cache_bytes", _DEFAULT_CACHE_BYTES),
        drivers=drivers,
        labels={key: str(value) for key, value in _table(values, "labels").items()},
        environments=environments,
        executors={name: _program(name, told) for name, told in _table(values, "executors").items()},
        fake_gpus=tuple(_gpu(one) for one in values.get("fake_gpus", ())),
        visible_gpus=tuple(one for one in variables.get("CUDA_VISIBLE_DEVICES", "").split(",") if one),
        registries={host: _registry(host, told) for host, told in _table(values, "registries").items()},
        checkpoint_s=_whole(values, "checkpoint_s", _DEFAULT_CHECKPOINT_S),
        gpu_free_below_bytes=_whole(values, "gpu_free_below_bytes", _DEFAULT_GPU_FREE_BYTES),
        spool_bytes=_whole(values, "spool_bytes", DEFAULT_BYTES),
        store=Path(str(values["store"])).absolute() if values.get("store") else None,
        transfer_streams=_streams(values),
        docker_host=values.get("docker_host"),
        docker_user=values.get("docker_user"),
        log_level=str(values.get("log_level", "INFO")).upper(),
        program_environment={
            **{name: variables[name] for name in _INHERITED if name in variables},
            **_import_policy(values),
        },
    )


def _import_policy(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns what the built-in `ingest` reads of its owner's will (lodeworks_builtin.ingesting.location)."""
    roots = _words(values.get("import_roots", []), "import_roots")
    if wrong := [root for root in roots if not Path(root).is_absolute() or os.pathsep in root]:
        raise ConfigError(f"import_roots: {wrong[0]!r} is no absolute path without {os.pathsep!r}")
    private = values.get("import_private_addresses", False)
    if private not in (True, False, "true", "false", "1", "0"):
        raise ConfigError(f"import_private_addresses must be true or false, not {private!r}")
    policy = {"LODE_IMPORT_ROOTS": os.pathsep.join(roots)} if roots else {}
    policy |= {"LODE_IMPORT_PRIVATE": "1"} if private in (True, "true", "1") else {}
    if "import_max_bytes" in values:
        policy["LODE_IMPORT_MAX_BYTES"] = str(_whole(values, "import_max_bytes", 1))
    return policy


def _table(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = values.get(key, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{key} must be a table")
    return table


def _words(value: Any, key: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{key} must be a list of words")
    return tuple(value)


def _whole(values: Mapping[str, Any], key: str, default: int) -> int:
    try:
        number = int(values.get(key, default))
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ConfigError(f"{key} must be a whole number above 0, not {values.get(key)!r}")
    return number


def _streams(values: Mapping[str, Any]) -> int:
    number = _whole(values, "transfer_streams", STREAMS)
    if number > MOST_STREAMS:
        raise ConfigError(f"transfer_streams must be at most {MOST_STREAMS}, not {number}")
    return number


def _program(name: str, told: Any) -> Program:
    if not isinstance(told, Mapping) or "command" not in told:
        raise ConfigError(f'executors.{name} needs a command, such as ["python", "-m", "my_executor"]')
    environment = {key: str(value) for key, value in _table(told, "environment").items()}
    return Program(
        command=_words(told["command"], f"executors.{name}.command"),
        environment=environment,
        private_mounts=told.get("private_mounts") is True,
    )


def _registry(host: str, told: Any) -> Registry:
    if not isinstance(told, Mapping) or not {"username", "password_file"} <= set(told):
        raise ConfigError(f"registries.{host} needs a username and a password_file")
    return Registry(str(told["username"]), str(told["password_file"]))


def _gpu(told: Any) -> Gpu:
    if not isinstance(told, Mapping) or "uuid" not in told:
        raise ConfigError("fake_gpus needs a uuid each")
    return Gpu(
        str(told["uuid"]),
        str(told.get("model", "fake")),
        int(told.get("memory_bytes", 0)),
        int(told.get("used_bytes", 0)),
    )
