"""What is true of the installation as a whole."""

from typing import Protocol


class InstallationRows(Protocol):
    """Facts about the installation, as one transaction sees them."""

    async def settle(self, name: str, value: str) -> str:
        """Notes a fact that is not known yet; returns the one that holds."""
        ...
