"""Profiles: which server, which authority, which token. The only reader of the environment in the client."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lodeworks.channel.streams import MOST_STREAMS, STREAMS
from lodeworks.errors import InvalidError, LoginError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = "profiles.yaml"


@dataclass(frozen=True, slots=True)
class Profile:
    """How to reach one server.

    Attributes:
        name: Its name in the profiles' file.
        server: ``host:port``; several controllers of one installation with commas between.
        ca_pem: PEM of the pinned authority; empty when only the fingerprint is known yet.
        ca_fingerprint: ``sha256:…`` of that authority.
        token: Bearer token.
        project: Name or id of the project that is meant when none is named.
        transfer_streams: Ranges of one blob that a download reads at a time; 1 to 32.
    """

    name: str
    server: str
    ca_pem: str = ""
    ca_fingerprint: str = ""
    token: str = ""
    project: str = ""
    transfer_streams: int = STREAMS


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the environment says: LODE_* variables and the folders of the user."""

    config_folder: Path
    data_folder: Path
    profile: str = ""
    server: str = ""
    token: str = ""
    ca_fingerprint: str = ""
    project: str = ""
    transfer_streams: str = ""
    no_color: bool = False

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Surroundings:
        """Reads the environment of the process."""
        env = os.environ if environ is None else environ
        home = Path(env.get("HOME") or Path.home())
        config = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "lodeworks"
        data = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share") / "lodeworks"
        return cls(
            config_folder=Path(env.get("LODE_CONFIG_FOLDER") or config),
            data_folder=Path(env.get("LODE_STATE") or data),
            profile=env.get("LODE_PROFILE", ""),
            server=env.get("LODE_SERVER", ""),
            token=env.get("LODE_TOKEN", ""),
            ca_fingerprint=env.get("LODE_CA_FINGERPRINT", ""),
            project=env.get("LODE_PROJECT", ""),
            transfer_streams=env.get("LODE_TRANSFER_STREAMS", ""),
            no_color=bool(env.get("NO_COLOR")),
        )


class Profiles:
    """The profiles of a user, kept in one file that only the user can read (0600).

    Args:
        folder: Where the file lies; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Returns the names of all profiles, sorted."""
        return sorted(self._read()["profiles"])

    def current(self) -> str:
        """Returns the name of the profile in use; empty without one."""
        return str(self._read()["current"])

    def get(self, name: str) -> Profile:
        """Returns a profile. Raises InvalidError when there is none of that name."""
        profiles = self._read()["profiles"]
        if name not in profiles:
            known = ", ".join(sorted(profiles)) or "none"
            raise InvalidError(f"there is no profile {name!r} (known: {known}); make one with `lode login SERVER`")
        return Profile(name=name, **profiles[name])

    def save(self, profile: Profile, *, use: bool) -> None:
        """Keeps a profile; makes it the current one if asked to, or if there is no other."""
        document = self._read()
        fields = asdict(profile)
        fields.pop("name")
        document["profiles"][profile.name] = fields
        if use or not document["current"]:
            document["current"] = profile.name
        self._write(document)

    def use(self, name: str) -> None:
        """Makes a profile the current one. Raises InvalidError when there is none of that name."""
        self.get(name)
        self._write({**self._read(), "current": name})

    def forget(self, name: str) -> None:
        """Forgets a profile; one that is not there is no error."""
        document = self._read()
        document["profiles"].pop(name, None)
        if document["current"] == name:
            document["current"] = ""
        self._write(document)

    def _read(self) -> dict[str, Any]:
        path = self._folder / _FILE
        empty: dict[str, Any] = {"current": "", "profiles": {}}
        if not path.exists():
            return empty
        try:
            document = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise InvalidError(f"cannot read {path} ({error}); mend or remove it and log in again") from error
        return {**empty, **document} if isinstance(document, dict) else empty

    def _write(self, document: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / _FILE
        temporary = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yaml.safe_dump(dict(document), file, sort_keys=True)
        temporary.replace(path)


def choose(surroundings: Surroundings, *, name: str = "", project: str = "") -> Profile:
    """Returns the profile to use: the named one, LODE_SERVER and LODE_TOKEN, LODE_PROFILE, or the current one.

    Raises:
        LoginError: Nobody has logged in.
        InvalidError: There is no profile of that name.
    """
    profiles = Profiles(surroundings.config_folder)
    if not name and surroundings.server:
        profile = Profile(
            name="environment",
            server=surroundings.server,
            ca_fingerprint=surroundings.ca_fingerprint,
            token=surroundings.token,
        )
    else:
        chosen = name or surroundings.profile or profiles.current()
        if not chosen:
            raise LoginError(
                "not logged in: start an installation of your own with `lode up`, or `lode login SERVER`",
                reason="NOT_LOGGED_IN",
            )
        profile = profiles.get(chosen)
        if surroundings.token:
            profile = replace(profile, token=surroundings.token)
    profile = replace(profile, transfer_streams=_streams(surroundings.transfer_streams) or profile.transfer_streams)
    wanted = project or surroundings.project
    return replace(profile, project=wanted) if wanted else profile


def _streams(given: str) -> int:
    if not given:
        return 0
    if not given.isdecimal() or not 1 <= int(given) <= MOST_STREAMS:
        raise InvalidError(f"LODE_TRANSFER_STREAMS is {given!r}; give a number of streams from 1 to {MOST_STREAMS}")
    return int(given)
