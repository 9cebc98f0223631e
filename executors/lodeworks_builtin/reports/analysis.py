"""The analysis of datasets as one HTML file: totals and distributions of labels and predictions side by side."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lodeworks_builtin.reports.charts import SERIES_COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KILO = 1000.0
_CLASSES_MOST = 40
_MATRIX_MOST = 14


@dataclass(frozen=True, slots=True)
class _Series:
    """Labels or predictions of one dataset, and their colour."""

    title: str
    colour: int
    dataset: Mapping[str, Any]
    side: Mapping[str, Any]


def analysis_html(summary: Mapping[str, Any]) -> str:
    """Returns the page; it needs neither script nor network."""
    series = _series(summary["datasets"])
    names = " and ".join(dataset["name"] for dataset in summary["datasets"])
    style = "".join(files(__package__).joinpath(f"{name}.css").read_text("utf-8") for name in ("diagnosis", "analysis"))
    body = "".join(
        [
            _header(names, series),
            _totals(series),
            _distributions(summary, series),
            _together(summary),
            _suspects(summary["datasets"]),
            "<footer>Lodeworks · shares are of the pictures that were looked at, or of the boxes</footer>",
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(names)} · analysis</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _header(names: str, series: Sequence[_Series]) -> str:
    return (
        f'<header><div class="eyebrow">Analysis</div><h1>{escape(names)}</h1>'
        "<p>What the pictures and their boxes are like: labels, and what a model predicted, on the same scales.</p>"
        f"{_key(series)}</header>"
    )


def _series(datasets: Sequence[Mapping[str, Any]]) -> list[_Series]:
    found: list[_Series] = []
    for dataset in datasets:
        for side, counted in dataset["sides"].items():
            what = "labels" if side == "gt" else f"predicted by {dataset['predicted_by']}"
            title = f"{dataset['name']} · {what}"
            found.append(_Series(title, len(found) % SERIES_COLOURS, dataset, counted))
    return found


def _key(series: Sequence[_Series]) -> str:
    entries = "".join(f'<span><i class="s{one.colour}"></i>{escape(one.title)}</span>' for one in series)
    return f'<div class="series-key">{entries}</div>'


def _totals(series: Sequence[_Series]) -> str:
    titles = ("Pictures", "Storage", "Boxes", "Boxes per picture", "With boxes")
    head = "<th></th>" + "".join(f"<th>{title}</th>" for title in titles)
    rows = []
    for one in series:
        totals = one.side["totals"]
        values = (
            f"{totals['pictures']:,}",
            _bytes(totals["size_bytes"]),
            f"{totals['boxes']:,}",
            f"{totals['boxes_per_picture']:.2f}",
            f"{100 * totals['annotated_share']:.1f} %",
        )
        cells = "".join(f'<td data-of="{title}">{value}</td>' for title, value in zip(titles, values, strict=True))
        rows.append(f'<tr><td><i class="s{one.colour}"></i>{escape(one.title)}</td>{cells}</tr>')
    table = f'<table class="classes"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    lead = "Pictures count where somebody, or the model, looked at them; “with boxes” is the share of all pictures."
    return _section("Totals", lead, f'<div class="card wide totals">{table}</div>')


def _distributions(summary: Mapping[str, Any], series: Sequence[_Series]) -> str:
    cards = []
    for key, bins in summary["bins"].items():
        unit = "boxes" if key == "box_size" else "pictures"
        counts = [one.side["distributions"].get(key, [0] * len(bins["labels"])) for one in series]
        cards.append(_bars(bins["title"], f"{bins['about']}; share of {unit}", bins["labels"], series, counts))
    cards.append(_classes(summary, series))
    lead = "Each bar is a share of its own series, so that large and small datasets compare. Empty ends are left out."
    return _section("Distributions", lead, f'<div class="flow">{"".join(cards)}</div>')


def _classes(summary: Mapping[str, Any], series: Sequence[_Series]) -> str:
    names = list(dict.fromkeys([*summary["class_names"], *(name for one in series for name in one.side["classes"])]))
    shown = sorted(names, key=lambda name: -max(one.side["classes"].get(name, 0) for one in series))[:_CLASSES_MOST]
    counts = [[one.side["classes"].get(name, 0) for name in shown] for one in series]
    more = "" if len(shown) == len(names) else f" The {len(names) - len(shown)} rarest of {len(names)} are left out."
    return _bars("Class share", f"share of boxes, with their number.{more}", shown, series, counts, numbers=True)


def _bars(
    title: str,
    about: str,
    labels: Sequence[str],
    series: Sequence[_Series],
    counts: Sequence[Sequence[int]],
    *,
    numbers: bool = False,
) -> str:
    totals = [sum(row) or 1 for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    most = max((share for row in shares for share in row), default=0.0) or 1.0
    used = [place for place in range(len(labels)) if any(row[place] for row in counts)] or list(range(len(labels)))
    if not numbers:
        used = list(range(used[0], used[-1] + 1))
    rows = []
    for place in used:
        bars = "".join(
            f'<div class="line"><b class="s{one.colour}" style="width:{100 * share[place] / most:.1f}%"></b>'
            f"<span>{100 * share[place]:.1f} %{f' · {row[place]:,}' if numbers else ''}</span></div>"
            for one, share, row in zip(series, shares, counts, strict=True)
        )
        rows.append(f'<div class="bin"><div class="label">{escape(labels[place])}</div><div>{bars}</div></div>')
    return f'<div class="card bars"><h3>{escape(title)}</h3><p>{escape(about)}</p>{"".join(rows)}</div>'


def _together(summary: Mapping[str, Any]) -> str:
    cards = []
    for dataset in summary["datasets"]:
        pairs = {(left, right): count for left, right, count in dataset["sides"]["gt"]["together"]}
        names = sorted({name for pair in pairs for name in pair}, key=lambda name: -pairs.get((name, name), 0))
        names = names[:_MATRIX_MOST]
        if len(names) < 2:  # noqa: PLR2004 - one class is never together with another
            continue
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
        rows = "".join(
            f'<tr><th scope="row">{escape(row)}</th>{"".join(_cell(pairs, row, column) for column in names)}</tr>'
            for row in names
        )
        cards.append(
            f'<div class="card"><h3>{escape(dataset["name"])}</h3><div class="wide"><table class="heat"><thead><tr>'
            f'<th class="corner"></th>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>'
        )
    if not cards:
        return ""
    lead = "Pictures whose labels show both classes, as a share of those with the class of the row."
    return _section("Seen together", lead, f'<div class="spread">{"".join(cards)}</div>')


def _cell(pairs: Mapping[tuple[str, str], int], row: str, column: str) -> str:
    count = pairs.get((min(row, column), max(row, column)), 0)
    whole = pairs.get((row, row), 0)
    if not count or not whole:
        return '<td class="none">·</td>'
    if row == column:
        return f'<td class="none">{count:,}</td>'
    strength = 12 + 76 * count / whole
    strong = " strong" if strength > 55 else ""  # noqa: PLR2004 - from here on, white text is the readable one
    return f'<td class="right{strong}" style="--k:{strength:.0f}%">{100 * count / whole:.0f} %</td>'


def _suspects(datasets: Sequence[Mapping[str, Any]]) -> str:
    cards = []
    for dataset in datasets:
        rows = []
        for found in dataset["suspects"].values():
            if not found["count"]:
                continue
            named = "".join(f"<li>{escape(name)}</li>" for name in found["shown"])
            rows.append(
                f"<details><summary><b>{found['count']:,}</b><span>{escape(found['about'])}</span></summary>"
                f"<ul>{named}</ul></details>"
            )
        content = "".join(rows) or "<p>Nothing stands out.</p>"
        cards.append(f'<div class="card suspects"><h3>{escape(dataset["name"])}</h3>{content}</div>')
    lead = "Labels and pictures that stand out; open a line for names."
    return _section("Worth a second look", lead, f'<div class="spread">{"".join(cards)}</div>')


def _section(title: str, lead: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(lead)}</p>{content}</section>"


def _bytes(count: int) -> str:
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < _KILO:
            break
        value, unit = value / _KILO, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"  # noqa: PLR2004
