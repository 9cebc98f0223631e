"""Measures sets and tells about them: a line for each point, a table and two charts for each set, the last line."""

import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lodeworks_builtin.mining
import lodeworks_detector
from mining_rounds.charts import draw_curves, draw_gains
from mining_rounds.plans import Plan, code_digest
from mining_rounds.points import CHANCE, Point, Points, curves_of, standings
from mining_rounds.schedule import Rounds
from mining_rounds.sets import open_set
from mining_rounds.tables import markdown, table
from paste_figures import paste

if TYPE_CHECKING:
    from mining_rounds.curves import Standing

TITLES = {"made": "Made pictures with rare classes", "bccd": "Blood cells (BCCD)"}


class Report:
    """All sets of a run."""

    def __init__(self, *, folder: Path, strategies: Sequence[str], default: str) -> None:
        self._folder = folder
        self._strategies = strategies
        self._default = default
        self._points = Points(folder)
        self._found: dict[str, list[Standing]] = {}
        self._labels: dict[str, int] = {}
        self._charts: list[Path] = []
        self._processor_s = 0.0

    def measure(self, plan: Plan, *, bccd: Path | None) -> None:
        """Measures what is missing of a set, prints its table, draws its charts."""
        plan = replace(plan, detector=code_digest(lodeworks_detector))
        pictures = open_set(plan, seed=plan.seeds[0], folder=self._folder, bccd=bccd)
        held = ", ".join(f"{name} {share:.1%}" for name, share in pictures.shares().items())
        print(f"{plan.name}: {plan.pool} pictures to choose from ({held}); labels {plan.labels}", flush=True)
        code = f"{plan.key}-{code_digest(lodeworks_builtin.mining)}"
        Rounds(
            plan,
            code=code,
            strategies=self._strategies,
            folder=self._folder,
            points=self._points,
            bccd=bccd,
            told=_tell,
        ).run()
        points = self._points.of(plan.name, code, seeds=plan.seeds)
        points = [point for point in points if not point.strategy or point.strategy in self._strategies]
        self._processor_s += sum(point.mining_s + point.training_s for point in points)
        found = standings(points, rounds=plan.rounds)
        self._found[plan.name], self._labels[plan.name] = found, plan.labels[-1]
        print(table(found, labels=plan.labels[-1]), flush=True)
        curves = curves_of(points, rounds=plan.rounds)
        if self._default not in curves or CHANCE not in curves:
            return
        title = f"{TITLES[plan.name]}: {plan.labels[0]} to {plan.labels[-1]} labelled pictures"
        paths = [self._folder / f"{plan.name}-{name}.png" for name in ("curves", "gains")]
        draw_curves(paths[0], curves, found, title=title, default=self._default)
        draw_gains(paths[1], found, title=title, default=self._default)
        self._charts += paths
        print("drawn: " + ", ".join(map(str, paths)), flush=True)

    def write_page(self, page: Path) -> None:
        """Puts the tables between the markers of a page, and the charts into `pictures/` beside it."""
        blocks = []
        for name, found in self._found.items():
            charts = [path for path in self._charts if path.name.startswith(f"{name}-")]
            for path in charts:
                (page.parent / "pictures").mkdir(exist_ok=True)
                shutil.copyfile(path, page.parent / "pictures" / f"mining-{path.name}")
            shown = [f"![{TITLES[name]}](pictures/mining-{path.name})" for path in charts]
            blocks.append("\n\n".join([f"### {TITLES[name]}", markdown(found, labels=self._labels[name]), *shown]))
        page.write_text(paste(page.read_text("utf-8"), blocks), "utf-8")

    def document(self, *, most_share: float, goals: bool) -> dict[str, Any]:
        """Returns the last line. Of the made set: not worse than random at 95 %, at most this share of its labels."""
        figures = {"processor_s": round(self._processor_s, 1)}
        for name, found in self._found.items():
            for one in found:
                if one.strategy == CHANCE:
                    continue
                figures[f"{name}_{one.strategy}_gain"] = round(one.gain.mean, 4)
                if one.share is not None:
                    figures[f"{name}_{one.strategy}_labels_share"] = round(one.share, 3)
                if one.strategy == self._default and math.isfinite(one.gain.half):
                    figures[f"{name}_{one.strategy}_gain_low"] = round(one.gain.low, 4)
        wanted: dict[str, dict[str, float]] = {}
        if goals and "made" in self._found:
            wanted[f"made_{self._default}_gain_low"] = {"min": 0.0}
            wanted[f"made_{self._default}_labels_share"] = {"max": most_share}
        ok = all(_met(figures.get(name), goal) for name, goal in wanted.items())
        return {"area": "mining", "figures": figures, "goals": wanted, "ok": ok}


def _tell(point: Point) -> None:
    classes = ", ".join(f"{name} {value:.2f}" for name, value in point.test_ap50.items())
    print(
        f"  {point.set_name} seed {point.seed} {point.strategy or 'start':<17} {point.labels:>4} labels "
        f"mAP50 {point.map50:.3f} ({classes})",
        file=sys.stderr,
        flush=True,
    )


def _met(value: float | None, goal: dict[str, float]) -> bool:
    if value is None:
        return False
    return value <= goal["max"] if "max" in goal else value >= goal["min"]
