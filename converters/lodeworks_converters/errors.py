"""What can go wrong in a conversion.

ConverterError
├── ConverterUnavailableError  CONVERTER_UNAVAILABLE  the target's tools are not here, or nobody knows the target
└── ConversionError            CONVERSION_FAILED      the tools are here and refuse this network
"""

from __future__ import annotations

from typing import ClassVar


class ConverterError(Exception):
    """The root of this package's errors; `reason` is stable, the message is for people."""

    reason: ClassVar[str] = "CONVERTER"


class ConverterUnavailableError(ConverterError):
    """The target's tools are not here, or nobody knows the target."""

    reason = "CONVERTER_UNAVAILABLE"

    def __init__(self, variant: str, why: str) -> None:
        super().__init__(f"{variant} cannot be made here: {why}")
        self.variant = variant
        self.why = why


class ConversionError(ConverterError):
    """The tools are here and refuse this network."""

    reason = "CONVERSION_FAILED"
