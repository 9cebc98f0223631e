"""Scores of a mining: picture by picture, the higher the more worth annotating."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lodeworks_formats.errors import FormatError

SCORES_SCHEMA = pa.schema(
    [pa.field("digest", pa.binary(32), nullable=False), pa.field("score", pa.float64(), nullable=False)]
)

_BATCH = 65_536


def write_scores(path: Path, scores: Iterable[tuple[str, float]]) -> int:
    """Writes (digest, score) pairs in their order and returns how many; a score that is no number is refused."""
    source, count = iter(scores), 0
    with pq.ParquetWriter(path, SCORES_SCHEMA, compression="zstd", use_dictionary=False) as writer:
        while batch := list(islice(source, _BATCH)):
            bad = next((digest for digest, score in batch if not math.isfinite(score)), None)
            if bad is not None:
                raise FormatError("BAD_SCORE", f"the score of {bad} is not a number", path.name)
            digests = pa.array([bytes.fromhex(digest) for digest, _ in batch], pa.binary(32))
            values = pa.array([score for _, score in batch], pa.float64())
            writer.write_batch(pa.record_batch([digests, values], schema=SCORES_SCHEMA))
            count += len(batch)
    return count


def read_scores(path: Path) -> Iterator[tuple[str, float]]:
    """Yields (digest, score); raises FormatError WRONG_SCHEMA or BAD_SCORE."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCORES_SCHEMA):
                raise FormatError("WRONG_SCHEMA", "the file holds no mining scores", path.name)
            for batch in file.iter_batches(batch_size=_BATCH):
                digests, scores = batch.column(0).to_pylist(), batch.column(1).to_pylist()
                for digest, score in zip(digests, scores, strict=True):
                    if not math.isfinite(score):
                        raise FormatError("BAD_SCORE", f"the score of {digest.hex()} is not a number", path.name)
                    yield digest.hex(), score
    except pa.ArrowException as error:
        raise FormatError("WRONG_SCHEMA", f"the file holds no mining scores ({error})", path.name) from error
