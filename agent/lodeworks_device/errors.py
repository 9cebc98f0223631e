"""What can go wrong on a device.

DeviceError
├── ConfigError          the configuration cannot be used
├── EnrolmentError       the controller did not take this device in, or it is not enrolled
├── AlreadyRunningError  another agent works on this state folder
├── PortTakenError       another program listens where the front should answer
├── StepError            an algorithm cannot go on its way; carries the reason from the closed list
├── DocumentError        a desired state is not to be obeyed; carries the reason
├── RefusedError         the controller refuses a call; carries its reason
└── UnreachableError     the controller does not answer: try again later
"""

from lodeworks_device.reasons import Reason


class DeviceError(Exception):
    """The root of everything that the agent itself raises."""

    code: str = "DEVICE"


class ConfigError(DeviceError):
    """The configuration cannot be used."""

    code = "CONFIG"


class EnrolmentError(DeviceError):
    """The controller did not take this device in, or it is not enrolled."""

    code = "ENROLMENT"


class AlreadyRunningError(DeviceError):
    """Another agent works on this state folder."""

    code = "ALREADY_RUNNING"


class PortTakenError(DeviceError):
    """Another program listens where the front should answer."""

    code = "PORT_TAKEN"


class StepError(DeviceError):
    """An algorithm cannot go on its way."""

    code = "STEP"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DocumentError(DeviceError):
    """A desired state is not to be obeyed."""

    code = "DOCUMENT"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RefusedError(DeviceError):
    """The controller refuses a call."""

    code = "REFUSED"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class UnreachableError(DeviceError):
    """The controller does not answer: try again later."""

    code = "UNREACHABLE"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
