"""What can go wrong between two programs before any rpc is answered.

```
ChannelError
├── UnreachableError        nobody listens there, or the network is down
├── WrongServerError        somebody answers, but it is not our controller
├── CertificateRefusedError our controller answers and does not accept our certificate
├── DigestMismatchError     the bytes that came are not the bytes that were named
└── TransferBrokenError     a transfer broke off more often than is worth repeating
```
"""

from typing import ClassVar


class ChannelError(Exception):
    """Base of the errors that arise on the way to a controller.

    Attributes:
        reason: Stable name for programs.
        target: The address that was dialled, empty where there is none.
    """

    reason: ClassVar[str] = "CHANNEL"

    def __init__(self, message: str, *, target: str = "") -> None:
        super().__init__(message)
        self.target = target


class UnreachableError(ChannelError):
    """Nobody answers at the address."""

    reason = "UNREACHABLE"


class WrongServerError(ChannelError):
    """The server at the address does not prove to be the controller whose authority is pinned."""

    reason = "WRONG_SERVER"


class CertificateRefusedError(ChannelError):
    """The controller closed the connection because of the client certificate."""

    reason = "CERTIFICATE_REFUSED"


class DigestMismatchError(ChannelError):
    """The content received is not the content named.

    Attributes:
        expected: The sha256 asked for, in hex.
        received: The sha256 of what came, in hex.
    """

    reason = "DIGEST_MISMATCH"

    def __init__(self, *, expected: str, received: str) -> None:
        super().__init__(f"received content {received} instead of {expected}; the sender's copy is damaged")
        self.expected = expected
        self.received = received


class TransferBrokenError(ChannelError):
    """A transfer broke off more often than the caller's patience allows."""

    reason = "TRANSFER_BROKEN"
