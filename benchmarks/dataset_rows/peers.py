"""The same questions and the same files for others: DuckDB's own file, Lance, Datumaro.

Lance and Datumaro live in environments of their own below the cache folder, made where they are missing.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
from dataset_rows.figures import Bench
from lodeworks_controller.storage.segments.job_types import Source
from task_queues.peers import Peer, environment
from task_queues.postgres import SkippedError

PROGRAMS: Final = Path(__file__).with_name("peer_programs")
LANCE: Final = Peer("Lance", ("pylance>=0.20", "pyarrow"), "", durable=True)
DATUMARO: Final = Peer("Datumaro", ("datumaro==1.13.*",), "", durable=True)
_LONGEST_S: Final = 1800.0


def compare_duckdb(bench: Bench, whole: Source) -> None:
    """Asks DuckDB's own file the same; the file has the same rows in the same order."""
    path = bench.folder / "peer.duckdb"
    with duckdb.connect(str(path), config={"threads": 2}) as peer:
        for kind in ("members", "counts", "boxes", "assets"):
            files = [segment.path for segment in whole.of_kind(kind)]
            peer.execute(f"CREATE TABLE {kind} AS SELECT * FROM read_parquet({files})")
    bench.note("DuckDB's own file: on disk", path.stat().st_size / 1e6, "MB")

    def asked(query: str) -> Callable[[], Any]:
        def answer() -> Any:
            with duckdb.connect(str(path), read_only=True, config={"threads": 2}) as peer:
                return peer.sql(query).to_arrow_table()

        return answer

    bench.time("DuckDB's own file: filter by class", asked(_FILTER))
    bench.time("DuckDB's own file: class statistics", asked(_STATISTICS))
    bench.time("DuckDB's own file: one picture's boxes", asked("SELECT * FROM boxes WHERE rec = 500"))


_FILTER = "SELECT aid, rec FROM members WHERE rec IN (SELECT rec FROM counts WHERE rid = 4) ORDER BY aid"
_STATISTICS = "SELECT rid, sum(n), count(*) FROM counts GROUP BY rid"


def compare_lance(bench: Bench, whole: Source) -> None:
    """Asks Lance the same: counts and boxes as Lance's tables, the boxes with an index on their record."""
    files = {kind: [segment.path for segment in whole.of_kind(kind)] for kind in ("counts", "boxes", "members")}
    found = _asked(bench, LANCE, "lance_peer.py", [json.dumps(files), str(bench.folder / "lance")])
    for name, (value, unit) in (found or {}).items():
        bench.note(f"Lance: {name}", value, unit)


def compare_datumaro(bench: Bench, devkit: Path) -> None:
    """Lets Datumaro read and write the files that our import and export had."""
    found = _asked(bench, DATUMARO, "datumaro_peer.py", [str(devkit), str(bench.folder / "datumaro")])
    for name, (value, unit) in (found or {}).items():
        bench.note(f"Datumaro: {name}", value, unit)


def _asked(bench: Bench, peer: Peer, program: str, words: Sequence[str]) -> dict[str, Any] | None:
    try:
        given = os.environ.get(f"LODE_{peer.name.upper()}")
        python = Path(given) if given else environment(peer)
    except SkippedError as error:
        bench.skip(peer.name, str(error))
        return None
    command = [str(python), str(PROGRAMS / program), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    if done.returncode:
        bench.skip(peer.name, f"it failed: {(done.stderr.strip().splitlines() or [''])[-1]}")
        return None
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
