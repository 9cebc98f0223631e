"""From a network's raw outputs to one form; one file a family of networks."""

from lodeworks_runtime.decoders.base import Decoder, RawOutputs
from lodeworks_runtime.decoders.registry import decoder_names, find_decoder

__all__ = ["Decoder", "RawOutputs", "decoder_names", "find_decoder"]
