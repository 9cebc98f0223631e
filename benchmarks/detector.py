"""The detector: pictures a second of a core in training, inference and mining, memory; inference beside a bare loop.

    python benchmarks/detector.py [--pictures 5000] [--quick] [--json FILE]

Inference and the bare loop (onnxruntime and OpenCV, `detector_runs/bare_loop.py`) take turns over the same pictures.
How good the detector is after how much time: `detector_runs/quality.py`, or tests/soak/test_detector_quality.py.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from detector_runs.speed import Candidates, Spent, make_training, training_speed
from lodeworks_formats import task_inputs as roles
from lodeworks_formats.segments import read_pictures

GOALS = {"inference_share_of_bare_loop": {"min": 0.90}}
ROUNDS, QUICK_ROUNDS = 5, 2
TRAINING_PICTURES, QUICK_TRAINING_PICTURES = 240, 48
QUICK_PICTURES = 200
BASES = 50


def measure(folder: Path, *, pictures: int, training: int, rounds: int) -> dict[str, float]:
    """Returns the figures."""
    figures: dict[str, float] = {}
    (folder / "made").mkdir()
    cells = make_training(folder / "made", pictures=training)
    speed, spent, model = training_speed(folder, cells)
    figures |= {"training_pictures_per_core_s": speed, "training_peak_mib": spent.peak_mib}
    candidates = Candidates(folder / "run", bases=[path for path, _ in cells.training[:BASES]], count=pictures)
    figures |= compare(candidates, model, pictures=pictures, rounds=rounds)
    empty, _ = candidates.run("mine", model, slice(0, 1))
    mined, _ = candidates.run("mine", model, slice(0, pictures // rounds))
    figures |= {"mining_pictures_per_core_s": _per_s(mined, empty, pictures // rounds)}
    figures |= {"mining_peak_mib": mined.peak_mib}
    return figures


def compare(candidates: Candidates, model: Path, *, pictures: int, rounds: int) -> dict[str, float]:
    """Lets our executor and the bare loop take turns; both must find the same number of boxes."""
    ours_start, _ = candidates.run("infer", model, slice(0, 1))
    bare_start, _ = candidates.run_bare(model, slice(0, 1))
    ours, bare, peak = [], [], 0.0
    step = pictures // rounds
    for number in range(rounds):
        chosen = slice(number * step, (number + 1) * step + (1 if number == 0 else 0))
        spent, left = candidates.run("infer", model, chosen)
        bare_spent, bare_boxes = candidates.run_bare(model, chosen)
        boxes = sum(len(one.predictions or ()) for one in read_pictures(left / roles.PREDICTIONS))
        assert abs(boxes - bare_boxes) <= bare_boxes * 0.01, f"{boxes} boxes, {bare_boxes} in the bare loop"
        ours.append(_per_s(spent, ours_start, chosen.stop - chosen.start))
        bare.append(_per_s(bare_spent, bare_start, chosen.stop - chosen.start))
        peak = max(peak, spent.peak_mib)
        print(f"  {chosen.stop:>6} pictures: {ours[-1]:.1f} and {bare[-1]:.1f} a second, {boxes} boxes", flush=True)
    return {
        "inference_pictures_per_core_s": statistics.median(ours),
        "bare_loop_pictures_per_core_s": statistics.median(bare),
        "inference_share_of_bare_loop": statistics.median(a / b for a, b in zip(ours, bare, strict=True)),
        "inference_start_processor_s": ours_start.processor_s,
        "bare_loop_start_processor_s": bare_start.processor_s,
        "inference_peak_mib": peak,
    }


def _per_s(spent: Spent, start: Spent, pictures: int) -> float:
    return (pictures - 1) / (spent.processor_s - start.processor_s)


def main() -> int:
    """Measures and prints; returns 0 when the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5_000, help="pictures of the comparison")
    parser.add_argument("--quick", action="store_true", help="few pictures, for a look")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="lodeworks-bench-") as folder:
        figures = measure(
            Path(folder),
            pictures=QUICK_PICTURES if given.quick else given.pictures,
            training=QUICK_TRAINING_PICTURES if given.quick else TRAINING_PICTURES,
            rounds=QUICK_ROUNDS if given.quick else ROUNDS,
        )
    figures = {name: round(value, 3) for name, value in figures.items()}
    for name, value in figures.items():
        print(f"{name:<34}{value:>12,.2f}")
    good = figures["inference_share_of_bare_loop"] >= GOALS["inference_share_of_bare_loop"]["min"]
    document = json.dumps({"area": "detector", "figures": figures, "goals": GOALS, "ok": good})
    if given.json:
        given.json.write_text(document + "\n")
    print(document)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
