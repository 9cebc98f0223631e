"""Packages: folders of hard links to blobs, whole or not there, proved when they are assembled."""

import asyncio
import os
import shutil
from pathlib import Path

from lodeworks_formats.errors import FormatError
from lodeworks_formats.package import MANIFEST_NAME, PackageManifest, read_package

from lodeworks_device.errors import StepError
from lodeworks_device.files import sync_folder
from lodeworks_device.reasons import Reason
from lodeworks_device.store.blobs import Blobs, KillPoint, Reach, Source, go_on


class Packages:
    """The packages under `folder`, made of the blobs."""

    def __init__(self, folder: Path, *, blobs: Blobs, scratch: Path, reach: Reach = go_on) -> None:
        self._folder = folder
        self._blobs = blobs
        self._scratch = scratch
        self._reach = reach
        for each in (folder, scratch):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, package_id: str) -> Path:
        """Returns where a package lies or would lie."""
        return self._folder / package_id

    async def manifest(self, package_id: str, *, size_bytes: int, source: Source) -> PackageManifest:
        """Fetches and reads a manifest. Raises StepError."""
        await self._blobs.fetch(package_id, size_bytes=size_bytes, source=source)
        data = await asyncio.to_thread(self._blobs.path(package_id).read_bytes)
        try:
            manifest = PackageManifest.from_bytes(data)
        except FormatError as error:
            raise StepError(Reason.PACKAGE_INVALID, str(error)) from error
        return manifest

    async def fetch(self, manifest: PackageManifest, *, source: Source) -> None:
        """Makes every blob of a package be there. Raises StepError."""
        for file in manifest.files:
            await self._blobs.fetch(file.sha256, size_bytes=file.size_bytes, source=source)

    async def assemble(self, package_id: str, manifest: PackageManifest) -> Path:
        """Makes the package's folder and proves every file in it; a blob that proves bad is forgotten.

        Raises StepError DIGEST_MISMATCH or PACKAGE_INVALID.
        """
        try:
            return await asyncio.to_thread(self._assemble, package_id, manifest)
        except FormatError as error:
            await self._forget(package_id, manifest)
            reason = Reason.DIGEST_MISMATCH if error.reason == "DIGEST_MISMATCH" else Reason.PACKAGE_INVALID
            raise StepError(reason, f"{error}: the copy on this device was bad and is deleted") from error

    async def keep_only(self, pinned: frozenset[str]) -> int:
        """Deletes every other package, and the blobs that none uses then; returns the bytes set free."""
        await asyncio.to_thread(self._drop_others, pinned)
        return await self._blobs.collect()

    def _assemble(self, package_id: str, manifest: PackageManifest) -> Path:
        path = self.path(package_id)
        if path.is_dir():
            read_package(path)
            return path
        scratch = self._scratch / package_id
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        os.link(self._blobs.path(package_id), scratch / MANIFEST_NAME)
        for file in manifest.files:
            target = scratch / file.path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.link(self._blobs.path(file.sha256), target)
            self._reach(KillPoint.LINKED)
        read_package(scratch)
        for folder in {scratch, *((scratch / file.path).parent for file in manifest.files)}:
            sync_folder(folder)
        scratch.rename(path)
        self._reach(KillPoint.ASSEMBLED)
        sync_folder(self._folder)
        return path

    async def _forget(self, package_id: str, manifest: PackageManifest) -> None:
        for folder in (self.path(package_id), self._scratch / package_id):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        for digest in (package_id, *(file.sha256 for file in manifest.files)):
            await self._blobs.drop(digest)

    def _drop_others(self, pinned: frozenset[str]) -> None:
        for folder in self._scratch.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
        for path in self._folder.iterdir():
            if path.name not in pinned:
                # Away in one move, so that no half package bears the name of a whole one.
                dying = self._scratch / path.name
                path.rename(dying)
                shutil.rmtree(dying, ignore_errors=True)
