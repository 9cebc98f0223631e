"""How good the detector is after how much processor time: trainings on BCCD, several seeds, measured on its test part.

    python -m detector_runs.quality DATA RESULTS [--seeds 3] [--keep FOLDER] [NAME=VALUE ...]    (in benchmarks/)

Nothing is chosen on the test part: what is measured is the running mean of the weights after the last epoch.
RESULTS keeps what was measured; a series that was interrupted goes on there. Remove it after a change of the detector.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from detector_runs.cells import Cells, Remembered, last_stage, lay_out, measure, remove, train
from lodeworks_runtime import load_onnx


@dataclass(frozen=True, slots=True)
class Budget:
    """A length of training that a user may choose, and what is promised for it: at most so much processor time."""

    epochs: int
    processor_s: float
    ap50: float


BUDGETS = (Budget(epochs=22, processor_s=250.0, ap50=0.82), Budget(epochs=55, processor_s=600.0, ap50=0.86))
CLASS_AP50 = 0.70


def quality(
    cells: Cells, *, epochs: int, seed: int, results: Remembered, folder: Path, keep: bool = False, **settings: Any
) -> dict[str, Any]:
    """Trains and measures once, or returns what was measured before."""
    also = "".join(f" {name}={value}" for name, value in sorted(settings.items()))
    key = f"epochs={epochs} seed={seed}{also}"
    known = results.get(key)
    if known is not None:
        return known
    root = folder / key.replace(" ", "_")
    remove(root)
    processor_s, _ = train(lay_out(root, cells, epochs=epochs, seed=seed, **settings))
    algorithm = load_onnx(last_stage(root) / "model.onnx")
    test, validation = measure(algorithm, cells.test), measure(algorithm, cells.validation)
    found = {
        "processor_s": round(processor_s, 1),
        "ap50": test.ap50,
        "ap": test.ap,
        "classes": test.classes,
        "validation_ap50": validation.ap50,
        "validation_ap": validation.ap,
        "stage": last_stage(root).name,
    }
    results.keep(key, found)
    if not keep:
        remove(root)
    return found


def line(name: str, values: Sequence[float]) -> str:
    """Returns the mean, the spread and the single values of a measure."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    each = "  ".join(f"{value:.3f}" if value < 2 else f"{value:.0f}" for value in values)  # noqa: PLR2004 - a share
    return f"  {name:<22} {statistics.mean(values):8.3f} ± {spread:.3f}   {each}"


def tell(runs: Sequence[dict[str, Any]], *, epochs: int) -> None:
    """Prints what some seeds came to."""
    print(f"{epochs} epochs, {len(runs)} seeds, mean ± standard deviation", flush=True)
    for name in ("processor_s", "ap50", "ap", "validation_ap50", "validation_ap"):
        print(line(name, [run[name] for run in runs]))
    for name in runs[0]["classes"]:
        print(line(f"AP50 {name}", [run["classes"][name] for run in runs]), flush=True)


def main() -> int:
    """Trains what is not in the results yet and prints all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, nargs="+", default=[budget.epochs for budget in BUDGETS])
    parser.add_argument("--keep", type=Path, help="folder that keeps the trainings")
    parser.add_argument("setting", nargs="*", help="NAME=VALUE, a setting of the detector")
    given = parser.parse_args()
    settings = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.setting)}
    results = Remembered(given.results)
    with tempfile.TemporaryDirectory(prefix="lodeworks-cells-") as scratch:
        cells = Cells.unpacked(given.data, into=Path(scratch) / "data")
        folder = given.keep or Path(scratch)
        for epochs in given.epochs:
            runs = [
                quality(
                    cells, epochs=epochs, seed=seed, results=results, folder=folder, keep=bool(given.keep), **settings
                )
                for seed in given.seeds
            ]
            tell(runs, epochs=epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
