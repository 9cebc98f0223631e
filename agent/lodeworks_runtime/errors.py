"""What can go wrong between a package and its boxes.

AlgorithmError
├── PictureError         PICTURE_UNREADABLE   the bytes are no picture that can be decoded
├── ModelError           MODEL_INVALID        the network does not keep the contract of its description
├── PackageError         PACKAGE_INVALID      the package is incomplete or contradicts itself
└── BackendMissingError  BACKEND_MISSING      the program that runs this kind of network is not here
"""

from __future__ import annotations

from typing import ClassVar


class AlgorithmError(Exception):
    """The root of this package's errors; `reason` is stable, the message is for people."""

    reason: ClassVar[str] = "ALGORITHM"


class PictureError(AlgorithmError):
    """The bytes are no picture that can be decoded."""

    reason = "PICTURE_UNREADABLE"


class ModelError(AlgorithmError):
    """The network does not keep the contract of its description."""

    reason = "MODEL_INVALID"


class PackageError(AlgorithmError):
    """The package is incomplete or contradicts itself."""

    reason = "PACKAGE_INVALID"


class BackendMissingError(AlgorithmError):
    """The program that runs this kind of network is not here."""

    reason = "BACKEND_MISSING"

    def __init__(self, backend: str, why: str) -> None:
        super().__init__(f"{backend} cannot run here: {why}")
        self.backend = backend
        self.why = why
