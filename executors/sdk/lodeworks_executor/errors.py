"""What can go wrong in an executor, with the codes of the protocol.

ExecutorError
├── BadSettingError     a setting is missing, of the wrong type or out of range
├── BadDatasetError     an index, a picture or an annotation cannot be used
└── BadModelError       a model file cannot be read or does not fit

StopRequestedError stands apart, as KeyboardInterrupt does: no `except Exception` on the way out may swallow it.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """The codes that an executor may leave in its monitor file."""

    CONFIG = 300001
    DATASET = 300002
    PICTURE_FORMAT = 300003
    MODEL = 300004
    OBJECT_TYPE = 300005
    CUDA_MISMATCH = 300101
    NO_GPU = 300102
    OUT_OF_MEMORY = 300103
    NOT_A_NUMBER = 300201
    NETWORK = 300301


class ExecutorError(Exception):
    """Says why an executor cannot go on, in one lower-case sentence."""

    def __init__(self, message: str, *, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class BadSettingError(ExecutorError):
    """Names the setting that is missing, mistyped or out of range."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"setting {key!r}: {message}", code=ErrorCode.CONFIG)
        self.key = key


class BadDatasetError(ExecutorError):
    """Says which index, picture or annotation cannot be used."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.DATASET) -> None:
        super().__init__(message, code=code)


class BadModelError(ExecutorError):
    """Says which model file cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=ErrorCode.MODEL)


class StopRequestedError(BaseException):
    """Raised in the main thread when the platform sends SIGTERM."""

    def __init__(self) -> None:
        super().__init__("stopped by the platform")
