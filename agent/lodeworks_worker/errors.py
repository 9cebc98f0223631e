"""What can go wrong in the worker.

WorkerError
├── ConfigError            the configuration cannot be used
├── RunningAlreadyError    another worker runs on this state folder
├── EnrolmentError         the controller did not take this worker in
├── DriverError            a driver could not do what it was asked
│   ├── LaunchError        the run did not start; carries the reason that the task gets
│   └── RunLostError       the run is gone and left no exit
├── InputError             an input of the run is not what it should be
├── OutputError            the run left something that cannot be used; names file and line
├── BlobError              bytes did not arrive whole, or are not there
├── NoSpaceError           the disk or the cache is full
├── LogGapError           the controller has less of a log than we thought; carries how much
├── OutputMissingError     the controller misses a blob that an outcome names: send it again
├── LeaseLostError         the controller gave the run to somebody else
├── SessionLostError       the controller does not know this session any more: register again
├── SupersededError        another boot of this worker is live: stop
├── RemovedError           the worker was removed: enrol again
├── RefusedError           the controller refuses the call for good
└── UnreachableError       the controller does not answer: try again later
"""

from lodeworks_worker.outcome import FailureReason


class WorkerError(Exception):
    """The root of everything that the worker itself raises."""

    reason: str = "WORKER"


class ConfigError(WorkerError):
    """The configuration cannot be used."""

    reason = "CONFIG"


class RunningAlreadyError(WorkerError):
    """Another worker runs on this state folder."""

    reason = "RUNNING_ALREADY"


class EnrolmentError(WorkerError):
    """The controller did not take this worker in."""

    reason = "ENROLMENT"


class DriverError(WorkerError):
    """A driver could not do what it was asked."""

    reason = "DRIVER"


class LaunchError(DriverError):
    """The run did not start."""

    reason = "LAUNCH"

    def __init__(self, message: str, *, failure: FailureReason = FailureReason.WORKER) -> None:
        super().__init__(message)
        self.failure = failure


class RunLostError(DriverError):
    """The run is gone and left no exit."""

    reason = "RUN_LOST"


class InputError(WorkerError):
    """An input of the run is not what it should be."""

    reason = "BAD_INPUT"


class OutputError(WorkerError):
    """The run left something that cannot be used."""

    reason = "BAD_OUTPUT"

    def __init__(self, message: str, *, file: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


class BlobError(WorkerError):
    """Bytes did not arrive whole, or are not there."""

    reason = "BLOB"


class NoSpaceError(WorkerError):
    """The disk or the cache is full."""

    reason = "NO_SPACE"


class LogGapError(WorkerError):
    """The controller has less of a log than we thought."""

    reason = "LOG_GAP"

    def __init__(self, *, committed: int) -> None:
        super().__init__(f"the controller has {committed} bytes of the log")
        self.committed = committed


class OutputMissingError(WorkerError):
    """The controller misses a blob that an outcome names: send it again."""

    reason = "OUTPUT_MISSING"


class LeaseLostError(WorkerError):
    """The controller gave the run to somebody else."""

    reason = "LEASE_LOST"


class SessionLostError(WorkerError):
    """The controller does not know this session any more: register again."""

    reason = "SESSION_LOST"


class SupersededError(WorkerError):
    """Another boot of this worker is live: stop."""

    reason = "SESSION_SUPERSEDED"


class RemovedError(WorkerError):
    """The worker was removed: enrol again."""

    reason = "WORKER_REMOVED"


class RefusedError(WorkerError):
    """The controller refuses the call for good."""

    reason = "REFUSED"


class UnreachableError(WorkerError):
    """The controller does not answer: try again later."""

    reason = "UNREACHABLE"
