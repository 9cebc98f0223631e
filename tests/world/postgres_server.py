"""A throw-away PostgreSQL server: its own cluster in a temporary folder, as an unprivileged user, gone afterwards."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import asyncpg

_TROUBLE_S = 60.0
_FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=200", "deadlock_timeout=200ms")


def find_programs() -> Path | None:
    """Returns the folder of PostgreSQL's programs, the newest, or None."""
    on_path = shutil.which("pg_ctl")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    found += [Path(on_path).resolve()] if on_path and not found else []
    return found[-1].parent if found else None


class PostgresServer:
    """One running server; databases are made from a template as tests ask for them."""

    def __init__(self, programs: Path, folder: Path, *, settings: Sequence[str] = _FAST) -> None:
        self._programs = programs
        self._folder = folder
        self._settings = settings
        self._number = 0

    def initialize(self) -> None:
        """Makes the cluster; nobody else can reach it: it listens on a socket in its own folder alone."""
        self._folder.chmod(0o700)
        owner = _owner()
        if owner is not None:
            shutil.chown(self._folder, owner)
        # A locale whose order is not that of code points, as on many a server.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US")
        self._call("initdb", "-D", str(self._data), "-U", "lode", "-A", "trust", "--no-sync", *locale)
        lines = ["listen_addresses = ''", f"unix_socket_directories = '{self._folder}'"]
        lines += [f"{name} = '{value}'" for name, value in (one.split("=") for one in self._settings)]
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._call("pg_ctl", "-D", str(self._data), "-l", str(self._folder / "log"), "-w", "start")

    def stop(self, *, mode: str = "immediate") -> None:
        """Stops it: ``fast`` in good order, ``immediate`` as a crash."""
        self._call("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def url(self, database: str) -> str:
        """Returns the address of a database."""
        return f"postgresql://lode@/{database}?{urlencode({'host': str(self._folder)})}"

    def create(self) -> str:
        """Makes an empty database and returns its address."""
        self._number += 1
        name = f"lode_{self._number}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0", database="postgres")
        return self.url(name)

    def execute(self, statement: str, *, database: str) -> None:
        """Runs one statement."""

        async def work() -> None:
            connection = await asyncpg.connect(host=str(self._folder), user="lode", database=database)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(work())

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=_owner(),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # not a pipe: the server would keep it open
            stderr=subprocess.STDOUT,
            timeout=_TROUBLE_S,
            check=False,
        )
        if done.returncode:
            log = self._folder / "log"
            raise RuntimeError(f"{program} failed: {log.read_text() if log.exists() else done.returncode}")


def _owner() -> str | None:
    """Returns the user to be: PostgreSQL refuses to run as root."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is no other user")


@contextmanager
def running_postgres(programs: Path, *, settings: Sequence[str] = _FAST) -> Iterator[PostgresServer]:
    """Runs a server until left. Its folder has a short name: that of a socket is limited to 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="lodepg-", dir="/tmp"))
    server = PostgresServer(programs, folder, settings=settings)
    try:
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
