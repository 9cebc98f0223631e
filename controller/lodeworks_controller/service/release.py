"""What the services ask of trust: releases that devices believe, and documents that they obey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ReleasedPackage:
    """One variant of a release.

    Attributes:
        manifest: The package's manifest, canonical JSON; its sha256 is the package id.
        target: What it runs on: ``onnx``, ``openvino``, ``tensorrt``.
        precision: ``fp32``, ``fp16``, ``int8``.
        statement: What was measured and when: everything about the package that its inputs do not determine.
    """

    manifest: bytes
    target: str
    precision: str
    statement: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release as it stands in the repository.

    Attributes:
        path: Its TUF target path, ``releases/<name>/<number>.json``.
        digest: sha256 of the document.
        document: The document, canonical JSON.
        package_ids: Its packages, in the order given.
    """

    path: str
    digest: str
    document: bytes
    package_ids: tuple[str, ...]


class Releases(Protocol):
    """The release repository."""

    async def add_release(self, name: str, number: int, *, packages: Sequence[ReleasedPackage]) -> SignedRelease:
        """Signs a release. The same release again returns it; another one under its number raises ExistsError."""
        ...

    async def metadata(self, name: str) -> bytes:
        """Returns a metadata file by its TUF name (``timestamp.json``, ``2.root.json``), or raises NotFoundError."""
        ...

    async def target(self, path: str) -> bytes:
        """Returns a target file by its TUF path, or raises NotFoundError."""
        ...

    async def trusted_root(self) -> bytes:
        """Returns the root metadata that a new device is given."""
        ...


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A desired state with its signature (64 raw bytes of Ed25519) and the id of the key."""

    document: bytes
    signature: bytes
    key_id: str


class DocumentSigner(Protocol):
    """Signs desired states."""

    def sign(self, document: Mapping[str, Any]) -> SignedDocument:
        """Returns the document as canonical JSON with its signature; raises InvalidError for a malformed one."""
        ...
