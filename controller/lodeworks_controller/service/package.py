"""Packages on their way in: proved file by file, stored by digest, packed once."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lodeworks_formats.errors import FormatError
from lodeworks_formats.package import MANIFEST_NAME, PackageManifest, pack, unpack

from lodeworks_controller.domain.algorithm import Measurement, Package, PackageBlob
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.service.blob_store import BlobStore, Location

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a package beside what it says itself."""

    measurement: Measurement = field(default_factory=Measurement)
    statement: Mapping[str, Any] = field(default_factory=dict)


_UNMEASURED = Measured()


@dataclass(frozen=True, slots=True)
class TakenPackage:
    """A package that was taken in, and the classes that it knows."""

    package: Package
    class_names: tuple[str, ...]


class PackageIntake:
    """Takes packages in.

    Args:
        blobs: Where their files are kept.
        workspace: A folder for passing files, on the filesystem of the blobs if possible.
    """

    def __init__(self, blobs: BlobStore, *, workspace: Path) -> None:
        self._blobs = blobs
        self._workspace = workspace

    async def from_archive(self, digest: str, *, measured: Measured = _UNMEASURED) -> TakenPackage:
        """Takes in a packed package that is stored already; raises InvalidError PACKAGE_INVALID."""
        location = await self._blobs.locate(digest)
        async with self._folder() as folder:
            tar = folder / "package.tar"
            await asyncio.to_thread(_copy_out, location, tar)
            manifest = await _proved(lambda: unpack(tar, folder / "package"))
            return await self._keep(folder / "package", manifest, measured)

    async def _keep(self, folder: Path, manifest: PackageManifest, measured: Measured) -> TakenPackage:
        tar = folder.parent / "packed.tar"
        await asyncio.to_thread(pack, folder, tar)
        archive = await self._blobs.put_file(tar, move=True)
        names = [MANIFEST_NAME, *sorted(entry.path for entry in manifest.files)]
        stored = [await self._blobs.put_file(folder / name) for name in names]
        package = Package(
            id=manifest.package_id,
            target=manifest.target,
            precision=manifest.precision,
            runtime=manifest.runtime.name,
            runtime_min=manifest.runtime.min_version,
            runtime_max=manifest.runtime.max_version,
            arch=manifest.runtime.arch,
            size_bytes=sum(blob.size_bytes for blob in stored),
            archive_digest=archive.digest,
            archive_size_bytes=archive.size_bytes,
            blobs=tuple(PackageBlob(blob.digest, blob.size_bytes) for blob in stored),
            memory_bytes=manifest.resources.memory_bytes,
            measurement=measured.measurement,
            statement=measured.statement,
        )
        return TakenPackage(package, manifest.classes)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="package-", dir=self._workspace))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _proved(work: Any) -> Any:
    """Runs a check of `lodeworks_formats` in a thread; what it refuses becomes InvalidError."""
    try:
        return await asyncio.to_thread(work)
    except FormatError as error:
        raise InvalidError("PACKAGE_INVALID", f"the package is not sound: {error}", field="packages") from error


def _copy_out(location: Location, target: Path) -> None:
    """Writes a stored range into a file of its own."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with location.path.open("rb") as source, target.open("wb") as sink:
        source.seek(location.offset)
        left = location.size_bytes
        while left > 0 and (piece := source.read(min(left, _PIECE_BYTES))):
            sink.write(piece)
            left -= len(piece)
