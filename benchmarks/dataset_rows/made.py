"""Pictures that are made up, as an exchange form has them."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from lodeworks_formats.segments import BOX_TYPE, PICTURES_SCHEMA

CLASSES = [f"class{number}" for number in range(20)]
RIDS = {name: number + 1 for number, name in enumerate(CLASSES)}
BATCH = 16_384


def batches(pictures: int, boxes: int, *, fractions: bool = False) -> Iterator[Any]:
    """Yields made pictures in the exchange form."""
    random = np.random.default_rng(1)

    def place(values: Any) -> Any:
        """Returns values as they are, or on whole pixels."""
        return values if fractions else np.round(values)

    lists = PICTURES_SCHEMA.field("boxes").type
    for start in range(0, pictures, BATCH):
        count = min(BATCH, pictures - start)
        lengths = random.poisson(boxes, count)
        total = int(lengths.sum())
        x, y = random.random(total) * 500, random.random(total) * 400
        names = pa.DictionaryArray.from_arrays(random.zipf(1.5, total) % len(CLASSES), CLASSES).cast(pa.string())
        columns = {
            "class_name": names,
            "x": pa.array(place(x), pa.float32()),
            "y": pa.array(place(y), pa.float32()),
            "w": pa.array(place(random.random(total) * 100 + 1), pa.float32()),
            "h": pa.array(place(random.random(total) * 70 + 1), pa.float32()),
            "rotation": pa.array(np.zeros(total), pa.float32()),
            "tags": pa.array([[]] * total, BOX_TYPE.field("tags").type),
            "crowd": pa.array(np.zeros(total, dtype=bool)),
            "difficult": pa.array(np.zeros(total, dtype=bool)),
        }
        filled = [columns.get(field.name, pa.nulls(total, field.type)) for field in BOX_TYPE]
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        structs = pa.StructArray.from_arrays(filled, fields=list(BOX_TYPE))
        digests = [hashlib.sha256(str(number).encode()).digest() for number in range(start, start + count)]
        rows = {
            "digest": pa.array(digests, pa.binary(32)),
            "extension": pa.array(["jpg"] * count),
            "width": pa.array([640] * count, pa.int32()),
            "height": pa.array([480] * count, pa.int32()),
            "orientation": pa.array([1] * count, pa.int8()),
            "channels": pa.array([3] * count, pa.int8()),
            "size_bytes": pa.array(random.integers(10_000, 90_000, count)),
            "names": pa.array([[f"images/{number}.jpg"] for number in range(start, start + count)]),
            "tags": pa.array([[]] * count, PICTURES_SCHEMA.field("tags").type),
            "split": pa.nulls(count, pa.string()),
            "derived_digest": pa.nulls(count, pa.binary(32)),
            "boxes": pa.ListArray.from_arrays(offsets, structs, lists),
            "predictions": pa.nulls(count, lists),
        }
        yield pa.table(rows).cast(PICTURES_SCHEMA)
