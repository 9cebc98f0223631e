"""The route file: which process answers for which algorithm. The agent replaces it, the front reads it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lodeworks_device.files import read_json, write_json

ROUTES_NAME = "routes.json"


@dataclass(frozen=True, slots=True)
class Route:
    """Where an algorithm is answered: a Unix socket, relative to the serving folder, and what runs behind it."""

    socket: str
    package_id: str
    release: str
    confidence: float | None = None


def write_routes(folder: Path, routes: Mapping[str, Route]) -> None:
    """Replaces the route file."""
    write_json(folder / ROUTES_NAME, {"routes": {name: asdict(route) for name, route in routes.items()}})


def read_routes(folder: Path) -> dict[str, Route]:
    """Reads the route file; empty while there is none."""
    told = read_json(folder / ROUTES_NAME) or {}
    return {name: Route(**plain) for name, plain in told.get("routes", {}).items()}


class RouteTable:
    """The routes as the file says them at each look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ROUTES_NAME
        self._mark: tuple[int, int] | None = None
        self._routes: dict[str, Route] = {}

    def all(self) -> Mapping[str, Route]:
        """Returns the routes by name of the algorithm."""
        try:
            told = self._path.stat()
        except OSError:
            return self._routes
        # Each replacement is another file, so the inode tells two apart that were written in one tick of the clock.
        mark = (told.st_ino, told.st_mtime_ns)
        if mark != self._mark:
            self._routes, self._mark = read_routes(self._folder), mark
        return self._routes

    def find(self, name: str) -> Route | None:
        """Returns the route of an algorithm, None when it is not served here."""
        return self.all().get(name)
