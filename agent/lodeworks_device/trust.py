"""Believes releases and desired states by their signatures alone, whoever carried them.

python-tuf verifies the release repository from the root that came with enrolment; the key of the desired state is a
target of that repository. tuf is loaded with the first document, not before: an idle agent does without it.
"""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeworks_device.control_plane import ControlPlane
from lodeworks_device.desired import DesiredState, Signed, check_desired, read_desired
from lodeworks_device.errors import DocumentError, RefusedError, StepError, UnreachableError
from lodeworks_device.reasons import Reason
from lodeworks_device.states import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from tuf.ngclient import Updater  # type: ignore[attr-defined]

_KEYS = "trust/desired-state-keys.json"
_METADATA, _TARGETS = "lode://metadata/", "lode://targets/"
_FETCH_WITHIN_S = 60.0
_ABSENT = frozenset({"METADATA_NOT_FOUND", "TARGET_NOT_FOUND"})


@dataclass(frozen=True, slots=True)
class ReleasedPackage:
    """What a verified release says of one package."""

    package_id: str
    manifest_size_bytes: int


class Trust:
    """The trust of one device.

    Args:
        folder: What was verified before.
        root: `root.json` from enrolment.
        control: Where metadata and targets come from.
    """

    def __init__(self, folder: Path, *, root: bytes, control: ControlPlane) -> None:
        self._folder = folder
        self._root = root
        self._control = control
        self._one = asyncio.Lock()

    async def verify(self, signed: Signed, *, device_id: str, seen: int, at: "datetime") -> DesiredState:
        """Returns the document of a good signature.

        Raises DocumentError with the reason, UnreachableError when the repository could not be asked.
        """
        keys = await self._target(_KEYS)
        try:
            key = json.loads(keys)["keys"].get(signed.key_id)
        except (ValueError, KeyError, AttributeError) as error:
            raise DocumentError(Reason.SIGNATURE_INVALID, f"{_KEYS} cannot be read: {error!r}") from error
        if key is None:
            raise DocumentError(Reason.SIGNATURE_INVALID, f"the key {signed.key_id[:12]} signs no desired states")
        await asyncio.to_thread(_verify_signature, key, signed)
        desired = read_desired(signed.data)
        check_desired(desired, device_id=device_id, seen=seen, at=at)
        return desired

    async def released(self, version: Version) -> ReleasedPackage:
        """Returns what the signed release says of a package.

        Raises StepError NOT_RELEASED when it does not list it, UnreachableError when it could not be asked.
        """
        try:
            release = json.loads(await self._target(version.release_path))
            for entry in release["packages"]:
                if entry["package_id"] == version.package_id:
                    return ReleasedPackage(version.package_id, int(entry["manifest_size_bytes"]))
        except DocumentError as error:
            raise StepError(error.reason, str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StepError(Reason.NOT_RELEASED, f"{version.release_path} cannot be read: {error!r}") from error
        raise StepError(
            Reason.NOT_RELEASED, f"{version.release_path} does not list the package {version.package_id[:12]}"
        )

    async def _target(self, path: str) -> bytes:
        """Returns a verified target. Raises DocumentError or UnreachableError."""
        loop = asyncio.get_running_loop()

        def fetched(coroutine: "Coroutine[Any, Any, bytes]") -> bytes:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(_FETCH_WITHIN_S)

        async with self._one:
            return await asyncio.to_thread(self._read, path, fetched)

    def _read(self, path: str, fetched: "Callable[[Coroutine[Any, Any, bytes]], bytes]") -> bytes:
        from tuf.api import exceptions  # noqa: PLC0415 - an idle agent does without it

        logging.getLogger("tuf").setLevel(logging.ERROR)
        try:
            updater = self._updater(fetched)
            updater.refresh()
            info = updater.get_targetinfo(path)
            if info is None:
                raise DocumentError(Reason.NOT_RELEASED, f"the release repository has no {path}")
            file = updater.find_cached_target(info) or updater.download_target(info)
            return Path(file).read_bytes()
        except exceptions.ExpiredMetadataError as error:
            raise DocumentError(Reason.EXPIRED, f"the release repository is out of date: {error}") from error
        except exceptions.DownloadHTTPError as error:
            raise DocumentError(Reason.NOT_RELEASED, f"the release repository is incomplete: {error}") from error
        except exceptions.DownloadLengthMismatchError as error:
            raise DocumentError(Reason.SIGNATURE_INVALID, f"{path} is longer than was signed: {error}") from error
        except exceptions.DownloadError as error:
            cause = error.__cause__
            if isinstance(cause, UnreachableError | RefusedError):
                raise cause from error
            raise UnreachableError(f"the release repository cannot be read: {cause or error}") from error
        except exceptions.RepositoryError as error:
            raise DocumentError(
                Reason.SIGNATURE_INVALID, f"the release repository is not to be trusted: {error}"
            ) from error

    def _updater(self, fetched: "Callable[[Coroutine[Any, Any, bytes]], bytes]") -> "Updater":
        from tuf.api.exceptions import DownloadHTTPError  # noqa: PLC0415
        from tuf.ngclient import (  # type: ignore[attr-defined]  # noqa: PLC0415
            FetcherInterface,
            Updater,
            UpdaterConfig,
        )

        control = self._control

        class Fetcher(FetcherInterface):
            """Fetches through our own channel."""

            def _fetch(self, url: str) -> Iterator[bytes]:
                try:
                    if url.startswith(_METADATA):
                        return iter([fetched(control.metadata(url.removeprefix(_METADATA)))])
                    return iter([fetched(control.target(url.removeprefix(_TARGETS)))])
                except RefusedError as error:
                    if error.reason not in _ABSENT:
                        raise
                    raise DownloadHTTPError(str(error), 404) from error

        for name in ("metadata", "targets"):
            (self._folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        return Updater(
            metadata_dir=str(self._folder / "metadata"),
            metadata_base_url=_METADATA,
            target_dir=str(self._folder / "targets"),
            target_base_url=_TARGETS,
            fetcher=Fetcher(),
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=self._root,
        )


def _verify_signature(key: Mapping[str, Any], signed: Signed) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - beside its user
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        if key["keytype"] != "ed25519" or key["scheme"] != "ed25519":
            raise DocumentError(Reason.SIGNATURE_INVALID, f"a key of the kind {key['keytype']} is not known here")
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
        public.verify(signed.signature, signed.data)
    except (InvalidSignature, ValueError, KeyError, TypeError) as error:
        raise DocumentError(Reason.SIGNATURE_INVALID, "the desired state bears no good signature") from error
