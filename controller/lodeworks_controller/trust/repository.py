"""The release repository: The Update Framework (specification 1.0), top-level roles only, consistent snapshots.

Layout, served file by file through ``DeviceService.GetMetadata`` (by name) and ``GetTarget`` (by path)::

    metadata/timestamp.json       version of the snapshot; 14 days
    metadata/<n>.snapshot.json    version of the targets; 60 days
    metadata/<n>.targets.json     length and sha256 of every target; 1 year
    metadata/<n>.root.json        keys and thresholds of the roles; 10 years; <1> is given out at enrolment
    targets/trust/desired-state-keys.json
    targets/releases/<name>/<number>.json

Targets are fetched by their plain path (python-tuf: ``UpdaterConfig(prefix_targets_with_hash=False)``). All keys are
Ed25519 in TUF's own form; thresholds are 1. Keys lie on the controller until ``lode algorithm keys init`` rotates root.

``trust/desired-state-keys.json`` says whose signature a device accepts on its desired state (`trust.desired_state`);
each key is in TUF's form, so that ``Key.from_dict(key_id, value)`` of python-tuf reads it::

    {"keys": {"<key id>": {"keytype": "ed25519", "keyval": {"public": "<64 hex>"}, "scheme": "ed25519"}},
     "type": "lodeworks.desired-state-keys", "version": 1}

``releases/<name>/<number>.json`` is one release, canonical JSON. ``<name>`` is the algorithm, which may be qualified by
its project with one slash. A package's manifest is the blob whose digest is the package id; the manifest names all
other blobs by digest, so what hangs below a release is fixed by its signature::

    {"algorithm": "<name>", "number": 3, "type": "lodeworks.release", "version": 1,
     "packages": [{"manifest_size_bytes": 2210, "package_id": "<sha256 of the manifest>", "precision": "int8",
                   "statement": {…what was measured…}, "target": "openvino"}]}

The timestamp is written last, by rename: it is the moment at which a change counts. What a crash left behind before
that refers to nothing and is overwritten by the next change.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from lodeworks_formats.manifest import canonical_json
from tuf.api.metadata import (  # type: ignore[attr-defined]
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from lodeworks_controller.domain.clock import Clock
from lodeworks_controller.errors import ExistsError, InvalidError, NotFoundError
from lodeworks_controller.service.release import ReleasedPackage, SignedRelease
from lodeworks_controller.trust.key_file import write_durably
from lodeworks_controller.trust.signing_keys import DESIRED_STATE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, SigningKeys

T = TypeVar("T")

DESIRED_STATE_KEYS: Final = "trust/desired-state-keys.json"

_VALIDITY: Final = {
    ROOT: timedelta(days=3650),
    TARGETS: timedelta(days=365),
    SNAPSHOT: timedelta(days=60),
    TIMESTAMP: timedelta(days=14),
}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}(/[a-z0-9][a-z0-9._-]{0,127})?")
_METADATA_NAME: Final = re.compile(r"timestamp\.json|[1-9][0-9]{0,9}\.(root|snapshot|targets)\.json")


class ReleaseRepository:
    """Makes, serves and keeps fresh the signed metadata.

    Args:
        folder: The repository.
        keys: Keys of its roles.
        clock: The present moment.
    """

    def __init__(self, folder: Path, *, keys: SigningKeys, clock: Clock) -> None:
        self._folder = folder
        self._keys = keys
        self._clock = clock
        self._writing = asyncio.Lock()

    def create(self) -> None:
        """Makes keys and first metadata; a repository that is there is left alone. Blocks."""
        if (self._folder / "metadata" / "timestamp.json").exists():
            return
        root = Root(expires=self._end(ROOT), consistent_snapshot=True)
        for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
            root.add_key(self._keys.create(role).public_key, role)
        self._write(Metadata(root), "1.root.json", role=ROOT)
        desired = self._keys.create(DESIRED_STATE).public_key
        data = canonical_json(
            {"keys": {desired.keyid: desired.to_dict()}, "type": "lodeworks.desired-state-keys", "version": 1}
        )
        targets = Targets(expires=self._end(TARGETS))
        targets.targets[DESIRED_STATE_KEYS] = self._write_target(DESIRED_STATE_KEYS, data)
        self._publish(targets, snapshot_version=0, timestamp_version=0)

    async def add_release(self, name: str, number: int, *, packages: Sequence[ReleasedPackage]) -> SignedRelease:
        """Signs a release. The same release again returns it; another one under its number raises ExistsError.

        Args:
            name: The algorithm, ``name`` or ``project/name``.
            number: From 1.
            packages: Its variants; at least one.
        """
        path = f"releases/{_checked_name(name)}/{number}.json"
        if number < 1 or not packages:
            raise InvalidError("RELEASE_EMPTY", "a release has a number from 1 on and at least one package")
        document = canonical_json(_release(name, number, packages))
        async with self._writing:
            await asyncio.to_thread(self._alone, self._add_target, path, document)
        return SignedRelease(
            path=path,
            digest=hashlib.sha256(document).hexdigest(),
            document=document,
            package_ids=tuple(hashlib.sha256(package.manifest).hexdigest() for package in packages),
        )

    async def refresh(self) -> bool:
        """Signs anew what has passed half of its life; returns whether anything had. Called now and then."""
        async with self._writing:
            return await asyncio.to_thread(self._alone, self._refresh)

    async def leap(self, by: int) -> None:
        """Signs everything anew with versions so much higher.

        After a restore devices may have seen versions that came after the backup, and they refuse lower ones.
        """
        async with self._writing:
            await asyncio.to_thread(self._alone, self._leap, by)

    async def metadata(self, name: str) -> bytes:
        """Returns a metadata file by its TUF name (``timestamp.json``, ``2.root.json``), or raises NotFoundError."""
        if _METADATA_NAME.fullmatch(name) is None:
            raise _no_metadata(name)
        try:
            return await asyncio.to_thread((self._folder / "metadata" / name).read_bytes)
        except FileNotFoundError as error:
            raise _no_metadata(name) from error

    async def target(self, path: str) -> bytes:
        """Returns a target file by its TUF path, or raises NotFoundError."""
        # Only what is signed is served, so a path never leads out of the folder.
        if path not in (await asyncio.to_thread(self._targets)).targets:
            raise NotFoundError("TARGET_NOT_FOUND", f"the repository has no target {path}", path=path)
        return await asyncio.to_thread((self._folder / "targets" / path).read_bytes)

    async def trusted_root(self) -> bytes:
        """Returns the newest root metadata, which a new device is given."""
        return await asyncio.to_thread(self._newest_root)

    def _alone(self, change: Callable[..., T], *given: Any) -> T:
        """Makes a change while no other controller makes one in the same folder; the kernel ends a dead one's."""
        descriptor = os.open(self._folder / "changing.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return change(*given)
        finally:
            os.close(descriptor)

    def _newest_root(self) -> bytes:
        version = 1
        while (self._folder / "metadata" / f"{version + 1}.root.json").exists():
            version += 1
        return (self._folder / "metadata" / f"{version}.root.json").read_bytes()

    def _add_target(self, path: str, document: bytes) -> None:
        timestamp, snapshot, targets = self._current()
        known = targets.targets.get(path)
        if known is not None:
            if known.hashes["sha256"] != hashlib.sha256(document).hexdigest():
                raise ExistsError("RELEASE_EXISTS", f"{path} is signed with another content; use the next number")
            return
        targets.targets[path] = self._write_target(path, document)
        targets.version += 1
        self._publish(targets, snapshot_version=snapshot.version, timestamp_version=timestamp.version)

    def _leap(self, by: int) -> None:
        timestamp, snapshot, targets = self._current()
        if self._keys.has(TARGETS):
            targets.version += by
            self._publish(targets, snapshot_version=snapshot.version + by, timestamp_version=timestamp.version + by)
        else:
            self._publish_snapshot(targets.version, snapshot.version + by, timestamp_version=timestamp.version + by)

    def _refresh(self) -> bool:
        timestamp, snapshot, targets = self._current()
        roles = ((targets, TARGETS), (snapshot, SNAPSHOT), (timestamp, TIMESTAMP))
        stale = {role for signed, role in roles if signed.expires - self._clock() < _VALIDITY[role] / 2}
        if TARGETS in stale and self._keys.has(TARGETS):
            targets.version += 1
            self._publish(targets, snapshot_version=snapshot.version, timestamp_version=timestamp.version)
        elif SNAPSHOT in stale:
            self._publish_snapshot(targets.version, snapshot.version + 1, timestamp_version=timestamp.version)
        elif TIMESTAMP in stale:
            self._publish_timestamp(snapshot.version, timestamp.version + 1)
        return bool(stale)

    def _publish(self, targets: Targets, *, snapshot_version: int, timestamp_version: int) -> None:
        targets.expires = self._end(TARGETS)
        self._write(Metadata(targets), f"{targets.version}.targets.json", role=TARGETS)
        self._publish_snapshot(targets.version, snapshot_version + 1, timestamp_version=timestamp_version)

    def _publish_snapshot(self, targets_version: int, version: int, *, timestamp_version: int) -> None:
        snapshot = Snapshot(
            version=version, expires=self._end(SNAPSHOT), meta={"targets.json": MetaFile(version=targets_version)}
        )
        self._write(Metadata(snapshot), f"{version}.snapshot.json", role=SNAPSHOT)
        self._publish_timestamp(version, timestamp_version + 1)

    def _publish_timestamp(self, snapshot_version: int, version: int) -> None:
        timestamp = Timestamp(
            version=version, expires=self._end(TIMESTAMP), snapshot_meta=MetaFile(version=snapshot_version)
        )
        self._write(Metadata(timestamp), "timestamp.json", role=TIMESTAMP)

    def _current(self) -> tuple[Timestamp, Snapshot, Targets]:
        folder = self._folder / "metadata"
        timestamp = Metadata[Timestamp].from_file(str(folder / "timestamp.json")).signed
        snapshot_name = f"{timestamp.snapshot_meta.version}.snapshot.json"
        snapshot = Metadata[Snapshot].from_file(str(folder / snapshot_name)).signed
        targets_name = f"{snapshot.meta['targets.json'].version}.targets.json"
        targets = Metadata[Targets].from_file(str(folder / targets_name)).signed
        return timestamp, snapshot, targets

    def _targets(self) -> Targets:
        return self._current()[2]

    def _write(self, metadata: Metadata[Any], name: str, *, role: str) -> None:
        metadata.sign(self._keys.load(role))
        folder = self._folder / "metadata"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(folder / name, metadata.to_bytes(JSONSerializer(compact=True)))

    def _write_target(self, path: str, data: bytes) -> TargetFile:
        file = self._folder / "targets" / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(file, data)
        return TargetFile.from_data(path, data, ["sha256"])

    def _end(self, role: str) -> datetime:
        # TUF writes whole seconds.
        return (self._clock() + _VALIDITY[role]).replace(microsecond=0)


def _release(name: str, number: int, packages: Sequence[ReleasedPackage]) -> Mapping[str, Any]:
    return {
        "type": "lodeworks.release",
        "version": 1,
        "algorithm": name,
        "number": number,
        "packages": [
            {
                "package_id": hashlib.sha256(package.manifest).hexdigest(),
                "manifest_size_bytes": len(package.manifest),
                "target": package.target,
                "precision": package.precision,
                "statement": json.loads(json.dumps(package.statement)),
            }
            for package in packages
        ],
    }


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise InvalidError(
            "NAME_INVALID", f"{name!r} cannot name a release; use a-z, 0-9, dot, dash, underscore, at most one slash"
        )
    return name


def _no_metadata(name: str) -> NotFoundError:
    return NotFoundError("METADATA_NOT_FOUND", f"the repository has no metadata file {name}", name=name)
