"""Fetches images: from which registry, with whose name, how far it is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.auth import INDEX_NAME, resolve_repository_name
from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

from lodeworks_worker.config import Registry
from lodeworks_worker.errors import WorkerError

_REFUSED = ("denied", "unauthorized", "authentication required", "no basic auth", "not found", "manifest unknown")


class PullError(WorkerError):
    """An image cannot be had. `lasting` says that trying again would not help."""

    reason = "IMAGE_PULL"

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Registries:
    """The registries that this worker has a name at; all others by the engine client's own configuration."""

    known: Mapping[str, Registry] = field(default_factory=dict)

    def login(self, reference: str) -> dict[str, str] | None:
        """Returns the login for an image's registry; None leaves it to the docker configuration of the user."""
        host, _ = resolve_repository_name(parse_repository_tag(reference)[0])
        told = self.known.get(host)
        if told is None:
            return None
        try:
            password = Path(told.password_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            message = f"the password file of registry {host} cannot be read ({error}); mend it in worker.toml"
            raise PullError(message, lasting=True) from error
        return {"username": told.username, "password": password}


def present(client: docker.DockerClient, reference: str) -> Any | None:
    """Returns an image that is on this machine, by name, digest or id; None when it is not.

    A digest is that of a registry's manifest, or the id of an image that was built here and never pushed.
    """
    _, _, digest = reference.partition("@")
    for name in (reference, digest) if digest else (reference,):
        try:
            return client.images.get(name)
        except ImageNotFound:
            continue
    return None


def pull(
    client: docker.DockerClient,
    reference: str,
    *,
    registries: Registries,
    tell: Callable[[float, str], None] = lambda _fraction, _message: None,
) -> Any:
    """Fetches an image and returns it; `tell` hears how much of it is here, 0 to 1.

    Raises:
        PullError: There is no such image, or nobody lets us have it.
    """
    repository, tag = parse_repository_tag(reference)
    try:
        login = registries.login(reference)
        stream = client.api.pull(repository, tag=tag or "latest", stream=True, decode=True, auth_config=login)
        _follow(stream, reference, tell)
        return client.images.get(reference)
    except (APIError, ImageNotFound) as error:
        raise _refused(reference, str(error.explanation or error)) from error


def pinned(image: Any, reference: str) -> str:
    """Returns the reference with its digest: the registry's, or the image's own id where it was never pushed."""
    repository = parse_repository_tag(reference.partition("@")[0])[0]
    told = image.attrs.get("RepoDigests") or ()
    same = [one for one in told if _whole_name(one.partition("@")[0]) == _whole_name(repository)]
    if same:
        return str(same[0])
    if image.id.removeprefix("sha256:").startswith(reference.removeprefix("sha256:")):
        return str(image.id)
    return f"{repository}@{image.id}"


def _whole_name(repository: str) -> tuple[str, str]:
    """Returns host and path of a repository: an engine leaves out those of Docker Hub, where people may write them."""
    host, path = resolve_repository_name(repository)
    return host, path.removeprefix("library/") if host == INDEX_NAME else path


def _follow(stream: Iterable[Mapping[str, Any]], reference: str, tell: Callable[[float, str], None]) -> None:
    layers: dict[str, tuple[int, int]] = {}
    for line in stream:
        if "error" in line:
            raise _refused(reference, str(line["error"]))
        detail, layer = line.get("progressDetail") or {}, str(line.get("id", ""))
        if detail.get("total") and str(line.get("status", "")).startswith(("Downloading", "Extracting")):
            # A layer is fetched, then unpacked: each is half of it.
            done = int(detail.get("current", 0)) + (detail["total"] if line["status"].startswith("Extr") else 0)
            layers[layer] = (done, 2 * int(detail["total"]))
        elif layer in layers and line.get("status") == "Pull complete":
            layers[layer] = (layers[layer][1], layers[layer][1])
        whole = sum(total for _, total in layers.values())
        fraction = sum(done for done, _ in layers.values()) / whole if whole else 0.0
        tell(min(fraction, 1.0), f"{line.get('status', '')} {layer}".strip())


def _refused(reference: str, told: str) -> PullError:
    lasting = any(word in told.lower() for word in _REFUSED)
    what = "check its name, and the registry's login in worker.toml" if lasting else "is the registry up?"
    return PullError(f"image {reference} cannot be pulled ({told}); {what}", lasting=lasting)
