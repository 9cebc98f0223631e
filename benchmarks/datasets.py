"""Datasets: operations, imports, signals, exports and commits, beside their goals and beside peers, in one run.

python benchmarks/datasets.py [--pictures 1000000] [--boxes 7] [--fractions] [--arrivals 5000] [--quick] [--json F]

--quick: 20,000 pictures and 300 imports, for a look; figures that depend on the size then have no goal. Goals are for a
million pictures on two cores. Boxes stand on whole pixels, as Pascal VOC has them; --fractions places them anywhere,
which takes more room. What is counted per second of a core is processor time, in which the load of others is not.
Peers get the same rows or the same files: DuckDB's own file, Lance, Datumaro. The last line is JSON.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from dataset_rows.figures import Bench
from dataset_rows.operations import ask, bring, compare_hashes, operate
from dataset_rows.peers import compare_datumaro, compare_duckdb, compare_lance

QUICK_PICTURES, QUICK_ARRIVALS = 20_000, 300


def run(bench: Bench, given: argparse.Namespace) -> None:
    """Runs all parts."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {given.pictures:,} pictures", flush=True)
    whole = bring(bench, pictures=given.pictures, boxes=given.boxes, fractions=given.fractions)
    operate(bench, whole, pictures=given.pictures)
    ask(bench, whole, pictures=given.pictures)
    compare_hashes(bench, pictures=given.pictures)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bench.note("peak memory of all of the above", peak_mib, "MiB", most=500)
    # Imported here: what they bring along would be in the peak above.
    from dataset_rows.arrivals import measure_functions, measure_whole  # noqa: PLC0415
    from dataset_rows.commits import measure_commits  # noqa: PLC0415

    measure_commits(bench)
    devkit = measure_functions(bench, pictures=given.arrivals)
    for kind in ("zip", "folder"):
        measure_whole(bench, pictures=given.arrivals, kind=kind)
    if given.without_peers:
        return
    compare_datumaro(bench, devkit)
    compare_duckdb(bench, whole)
    compare_lance(bench, whole)


def main() -> int:
    """Runs the benchmark in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--boxes", type=int, default=7)
    parser.add_argument("--fractions", action="store_true")
    parser.add_argument("--arrivals", type=int, default=5_000, help="pictures of an import")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.pictures, given.arrivals = QUICK_PICTURES, QUICK_ARRIVALS
    folder = Path(tempfile.mkdtemp(prefix="lode-bench-", dir=given.folder))
    bench = Bench(folder, whole=not given.quick)
    try:
        run(bench, given)
    finally:
        shutil.rmtree(folder)
    if given.json:
        given.json.write_text(json.dumps([asdict(figure) for figure in bench.figures], indent=1) + "\n", "utf-8")
    bench.print_document("datasets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
