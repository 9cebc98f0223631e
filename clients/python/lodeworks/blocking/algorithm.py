"""Algorithms and their releases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lodeworks.api.algorithm.v1 import algorithm_pb2 as pb
from lodeworks.api.algorithm.v1.algorithm_pb2_grpc import AlgorithmServiceStub
from lodeworks.blocking.device import Deployment, Device, Devices
from lodeworks.blocking.paging import pages
from lodeworks.connection import Connection, new_request_id
from lodeworks.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Release:
    """One set of packages of the same stage.

    Args:
        connection: Where it lives.
        project: Id of its project.
        data: What the server says of it.
    """

    def __init__(self, connection: Connection, project: str, data: pb.Release) -> None:
        self._connection = connection
        self._project = project
        self.data = data

    @property
    def id(self) -> str:
        """Returns the id."""
        return self.data.id

    @property
    def name(self) -> str:
        """Returns the full name, such as ``cells@2``."""
        return self.data.name

    def __repr__(self) -> str:
        """Returns one line for people."""
        return f"<{self.name}: {', '.join(package.variant for package in self.data.packages)}>"

    def package(self, variant: str) -> pb.Package:
        """Returns the package of a variant, such as openvino-int8. Raises NotFoundError."""
        for package in self.data.packages:
            if package.variant == variant:
                return package
        known = ", ".join(package.variant for package in self.data.packages) or "none"
        raise NotFoundError(f"{self.name} has no variant {variant!r} (there are: {known})", reason="VARIANT_NOT_FOUND")

    def sign(self) -> Release:
        """Turns the candidate into a release, signed with the controller's release key."""
        request = pb.SignReleaseRequest(project=self._project, release=self.id, request_id=new_request_id())
        response: pb.SignReleaseResponse = self._connection.call(AlgorithmServiceStub, "SignRelease", request)
        self.data = response.release
        return self

    def deploy(self, *devices: Device, variant: str = "", confidence: float | None = None) -> Deployment:
        """Wants the release to run on devices; the result is there once all of them have committed it.

        Args:
            devices: Where.
            variant: Which package; empty = the fastest measured one that fits.
            confidence: Boxes below are not answered; None = the package's own.
        """
        inventory = Devices(self._connection, self._project)
        return inventory.deploy(self.id, [device.id for device in devices], variant=variant, confidence=confidence)

    def download(self, folder: Path | str, *, variant: str = "") -> list[Path]:
        """Fetches the packed packages, or the one of a variant, into a folder."""
        paths = []
        for package in [self.package(variant)] if variant else self.data.packages:
            path = Path(folder) / f"{self.name.replace('@', '-')}-{package.variant}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection.download(
                self._project, package.archive_digest, path, size_bytes=package.archive_size_bytes
            )
            paths.append(path)
        return paths

    def report_html(self) -> str:
        """Returns the measurements as one HTML page."""
        return (self._connection.read_blob(self._project, self.data.report_digest)).decode()

    def card(self) -> str:
        """Returns the model card, in Markdown."""
        return (self._connection.read_blob(self._project, self.data.card_digest)).decode()


class Algorithms:
    """The algorithms of a project.

    Args:
        connection: Where they live.
        project: Name or id of the project.
    """

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def get(self, name: str) -> Release:
        """Returns a release: ``name@2``, ``name`` for the newest signed one, or an id. Raises NotFoundError."""
        response: pb.GetAlgorithmResponse = self._connection.call(
            AlgorithmServiceStub, "GetAlgorithm", pb.GetAlgorithmRequest(project=self._project, algorithm=name)
        )
        return Release(self._connection, self._project, response.release)

    def list(self) -> Iterator[pb.Algorithm]:
        """Yields the algorithms with their newest releases, sorted by name."""
        request = pb.ListAlgorithmsRequest(project=self._project)
        for data in pages(self._connection, AlgorithmServiceStub, "ListAlgorithms", request, items="algorithms"):
            yield data

    def history(self, name: str) -> Iterator[Release]:
        """Yields all releases and candidates of an algorithm, newest first."""
        request = pb.ListReleasesRequest(project=self._project, algorithm=name)
        for data in pages(self._connection, AlgorithmServiceStub, "ListReleases", request, items="releases"):
            yield Release(self._connection, self._project, data)

    def add(self, name: str, packages: Sequence[Path | str]) -> Release:
        """Registers packed packages that were built elsewhere as a signed release."""
        blobs = [self._connection.hash_file(Path(path)) for path in packages]
        self._connection.upload(self._project, blobs)
        request = pb.AddReleaseRequest(
            project=self._project,
            name=name,
            package_digests=[blob.digest for blob in blobs],
            request_id=new_request_id(),
        )
        response: pb.AddReleaseResponse = self._connection.call(AlgorithmServiceStub, "AddRelease", request)
        return Release(self._connection, self._project, response.release)

    def delete(self, name: str) -> None:
        """Deletes a release or candidate (``name@2``) that no device wants."""
        request = pb.DeleteReleaseRequest(project=self._project, release=name, request_id=new_request_id())
        self._connection.call(AlgorithmServiceStub, "DeleteRelease", request)
