"""What is counted and timed while the controller works; who keeps the numbers is another's business."""

from typing import Protocol


class Meter(Protocol):
    """Takes measurements. Every call is cheap, never raises, and happens in the event loop."""

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """Notes an rpc that was answered: its full name, the status and how long it took."""
        ...

    def committed(self, seconds: float, units: int) -> None:
        """Notes a commit of so many units of work and how long it took."""
        ...

    def granted(self, kind: str, waited_s: float) -> None:
        """Notes that a task was given to a worker, and how long it had been ready."""
        ...

    def attempt_ended(self, kind: str, outcome: str, reason: str) -> None:
        """Notes how an attempt ended: succeeded, failed or lost, and why."""
        ...


class NoMeter:
    """Keeps nothing."""

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """Notes nothing."""

    def committed(self, seconds: float, units: int) -> None:
        """Notes nothing."""

    def granted(self, kind: str, waited_s: float) -> None:
        """Notes nothing."""

    def attempt_ended(self, kind: str, outcome: str, reason: str) -> None:
        """Notes nothing."""
