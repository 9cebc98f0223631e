"""Converters: from one ONNX stage to one artefact per target and precision, and from artefacts to packages."""

from lodeworks_converters.base import Artifact, ArtifactFile, Attempt, Converter
from lodeworks_converters.calibration import Calibration, choose_pictures
from lodeworks_converters.errors import ConversionError, ConverterError, ConverterUnavailableError
from lodeworks_converters.guard import GuardScores, Verdict, judge
from lodeworks_converters.registry import converters, find_converter
from lodeworks_converters.writer import PackagePlan, write_variant

__all__ = [
    "Artifact",
    "ArtifactFile",
    "Attempt",
    "Calibration",
    "ConversionError",
    "Converter",
    "ConverterError",
    "ConverterUnavailableError",
    "GuardScores",
    "PackagePlan",
    "Verdict",
    "choose_pictures",
    "converters",
    "find_converter",
    "judge",
    "write_variant",
]
