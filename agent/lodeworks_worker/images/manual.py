"""Reads /img-man of an image by create and copy out: nothing of the image ever runs."""

import io
import posixpath
import tarfile
from collections.abc import Mapping

import docker
from docker.errors import NotFound
from lodeworks_formats.image_manual import MANUAL_FOLDER, MOST_FILE_BYTES

from lodeworks_worker.errors import WorkerError

_MOST_FILES = 64
_MOST_BYTES = _MOST_FILES * MOST_FILE_BYTES
_LINKS = 4


class ManualError(WorkerError):
    """What lies in /img-man cannot be read."""

    reason = "MANUAL"


def read_manual(client: docker.DockerClient, image_id: str, *, name: str) -> Mapping[str, str]:
    """Returns the texts below /img-man by path; none where there is no such folder.

    Args:
        client: The engine.
        image_id: The image.
        name: Of the container that is made for reading and removed again; one that an earlier try left goes first.

    Raises:
        ManualError: A file is too large or no text.
    """
    _remove(client, name)
    # The command is never run; an image without one could not be created otherwise.
    container = client.api.create_container(image_id, command=["-"], name=name, network_disabled=True)["Id"]
    try:
        return _files(client, container, MANUAL_FOLDER, _LINKS)
    finally:
        _remove(client, name)


def _remove(client: docker.DockerClient, name: str) -> None:
    try:
        client.api.remove_container(name, force=True, v=True)
    except NotFound:
        return


def _files(client: docker.DockerClient, container: str, path: str, links: int) -> dict[str, str]:
    try:
        chunks, _ = client.api.get_archive(container, path)
    except NotFound:
        return {}
    archive = io.BytesIO()
    for chunk in chunks:
        archive.write(chunk)
        if archive.tell() > _MOST_BYTES:
            raise ManualError(f"{MANUAL_FOLDER} of the image holds more than {_MOST_BYTES >> 20} MiB; it is no manual")
    archive.seek(0)
    found: dict[str, str] = {}
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            _, _, inner = member.name.partition("/")
            if member.issym() and links:
                target = posixpath.normpath(
                    posixpath.join(posixpath.dirname(f"{path}/{inner}".rstrip("/")), member.linkname)
                )
                linked = _files(client, container, target, links - 1)
                found.update({posixpath.join(inner, name).rstrip("/"): text for name, text in linked.items()})
            elif member.isfile() and member.name.endswith((".yaml", ".yml")):
                if member.size > MOST_FILE_BYTES or len(found) >= _MOST_FILES:
                    raise ManualError(f"{MANUAL_FOLDER}/{inner} is too large, or one file too many, for a manual")
                found[inner] = _text(tar, member, inner)
    return found


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> str:
    file = tar.extractfile(member)
    assert file is not None
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManualError(f"{MANUAL_FOLDER}/{path} is no text in UTF-8") from error
