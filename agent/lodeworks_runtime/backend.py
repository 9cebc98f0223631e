"""What runs a network; one file a library, the twin of a converter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class Backend(Protocol):
    """One loaded network.

    It is fed one picture at a time: so the answer for a picture cannot depend on what else was in its batch, and on one
    thread a batch would gain nothing.
    """

    runtime: str
    version: str

    def run(self, blob: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Returns the outputs by name for float32 [1, 3, H, W]; they are valid until the next call."""
        ...

    def close(self) -> None:
        """Lets go of the network's memory."""
        ...
