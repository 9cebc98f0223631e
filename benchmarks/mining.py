"""The proof of mining: mAP over labelled pictures, each strategy against random, on a made set and on BCCD.

python benchmarks/mining.py [--set made|bccd|both] [--seeds 1,2,3] [--strategies hybrid,entropy] [--quick] [--out F]
                            [--page docs/mining.md]

Each round mines with the built-in executor, adds what it chose with its boxes, and trains the detector again from the
same weights, for the same number of steps. Everything that a seed shares (its pictures, its first labelled set, the
training's own seed) is the same for all strategies, so they are compared seed by seed. Each training is one thread;
two run at a time. Points are kept in F/points.jsonl and models in F/trained: a run that was ended goes on, and equal
sets of pictures are trained on once. BCCD is read from --data or LODE_TEST_DATA. The last line is JSON.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lodeworks_builtin.mining import find_strategy, strategy_names
from lodeworks_executor.errors import BadSettingError

DEFAULT = "hybrid"
CHANCE = "random"
MOST_SHARE = 0.6
"""The goal: the default's labels for random's last mAP, as a part of random's, on the made set."""
BCCD_FILES = ("bccd-trainval.zip", "bccd-test.zip")


def main(arguments: Sequence[str]) -> int:
    """Measures what is missing, draws, prints; returns 0 when the goals are met."""
    # Before torch and OpenMP are loaded, here and in the processes that are started.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    from mining_rounds.plans import BCCD, MADE, QUICK  # noqa: PLC0415
    from mining_rounds.report import Report  # noqa: PLC0415

    given = _arguments(arguments)
    report = Report(folder=given.out, strategies=given.strategies, default=DEFAULT)
    for plan in (QUICK if given.quick else MADE, BCCD):
        if given.set not in (plan.name, "both") or (given.quick and plan is BCCD):
            continue
        why = _missing(given.data) if plan is BCCD else None
        if why is not None:
            print(f"{plan.name}: skipped, {why}", flush=True)
            continue
        report.measure(replace(plan, seeds=given.seeds or plan.seeds), bccd=given.data)
    document = report.document(most_share=MOST_SHARE, goals=not given.quick)
    if given.page is not None:
        report.write_page(given.page)
    print(json.dumps(document), flush=True)
    return 0 if document["ok"] else 1


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mining.py", description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=["made", "bccd", "both"], default="both")
    parser.add_argument("--seeds", type=_numbers, default=(), help="such as 1,2,3; left out, five and three")
    parser.add_argument("--strategies", type=_strategies, default=_strategies(",".join(strategy_names())))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LODE_TEST_DATA", "")), help="folder of BCCD")
    parser.add_argument("--out", type=Path, default=Path("build/mining"), help="PNGs, points and models")
    parser.add_argument("--page", type=Path, help="a page that gets tables and charts, such as docs/mining.md")
    parser.add_argument("--quick", action="store_true", help="a few tiny pictures, for a look; without goals")
    given = parser.parse_args(arguments)
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    return given


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _strategies(text: str) -> tuple[str, ...]:
    """Returns the strategies, random and the default first: they are what the rest is compared with."""
    try:
        wanted = {find_strategy(name).name for name in text.split(",")} | {CHANCE}
    except BadSettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return tuple(sorted(wanted, key=lambda name: (name != CHANCE, name != DEFAULT, name)))


def _missing(data: Path) -> str | None:
    lacking = [name for name in BCCD_FILES if not (data / name).is_file()]
    return f"no {' and '.join(lacking)}: name their folder with --data or LODE_TEST_DATA" if lacking else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
