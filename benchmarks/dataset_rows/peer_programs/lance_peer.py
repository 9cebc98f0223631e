"""Lance on the rows of our segments: python lance_peer.py '{"counts": [FILE…], "boxes": […], …}' FOLDER."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq


def best_ms(work: Callable[[], Any], *, repeats: int = 5) -> float:
    """Returns the shortest of some runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1000


def main(files: dict[str, list[str]], folder: Path) -> dict[str, tuple[float, str]]:
    """Returns name → (value, unit)."""
    tables = {}
    for kind, paths in files.items():
        rows = pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])
        tables[kind] = lance.write_dataset(rows, str(folder / f"{kind}.lance"))
    size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    found = {"counts, boxes and members on disk": (size_bytes / 1e6, "MB")}
    found["records with a class"] = (best_ms(lambda: tables["counts"].to_table(["rec"], filter="rid = 4")), "ms")
    statistics = best_ms(lambda: tables["counts"].to_table(["rid", "n"]).group_by("rid").aggregate([("n", "sum")]))
    found["class statistics"] = (statistics, "ms")
    tables["boxes"].create_scalar_index("rec", "BTREE")
    found["one picture's boxes, indexed"] = (best_ms(lambda: tables["boxes"].to_table(filter="rec = 500")), "ms")
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]), Path(sys.argv[2]))))
