"""The diagnosis of a model on a dataset as one HTML file: numbers, curves, and its mistakes box by box."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from lodeworks_evaluation.error_kinds import ErrorKind
from lodeworks_evaluation.matching import UNMATCHED
from lodeworks_evaluation.thresholds import Matches, confusion, curve, matches_of

from lodeworks_builtin.reports.charts import SERIES_COLOURS, Line, bar, heat_table, line_chart
from lodeworks_builtin.reports.mistakes import Crop, Mistake, crop_of, find_mistakes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from lodeworks_builtin.reports.mistakes import PictureLoader

_PER_KIND = 18
_MAX_SLIDER_ROWS = 20_000
_FALLBACK_CONF = 0.05
_KINDS: tuple[tuple[ErrorKind, str, str], ...] = (
    (ErrorKind.MISSED, "Missed", "an object that no box found"),
    (ErrorKind.BACKGROUND, "Nothing there", "a box where the labels have nothing"),
    (ErrorKind.LOCALISATION, "Badly placed", "right class, overlap too small"),
    (ErrorKind.CLASSIFICATION, "Wrong class", "right place, taken for another class"),
    (ErrorKind.DUPLICATE, "Found twice", "a second box on one object"),
    (ErrorKind.BOTH, "Wrong and misplaced", "another class, overlap too small"),
)
_NAMES = {kind: name for kind, name, _ in _KINDS}


@dataclass(frozen=True, slots=True)
class Heading:
    """What a report is called: the two sides of the evaluation, and a line about where it comes from."""

    model: str = "This model"
    dataset: str = "this dataset"
    origin: str = "Lodeworks"


def diagnosis_html(
    summary: Mapping[str, Any], table: pa.Table, picture_of: PictureLoader, *, heading: Heading | None = None
) -> str:
    """Returns the report of an evaluation (its summary and match table) as a self-contained page.

    `picture_of` gives a picture by digest, or None: then the boxes stand without their picture.
    """
    named = heading or Heading()
    matches = matches_of(table)
    best = summary["best_threshold"]
    conf = best["conf"] if best else _FALLBACK_CONF
    answer = confusion(matches, conf=conf)
    style, script = (files(__package__).joinpath(f"diagnosis.{kind}").read_text("utf-8") for kind in ("css", "js"))
    body = "".join(
        [
            _header(summary, matches, named),
            _tiles(summary),
            _section(
                "Classes",
                "AP is the mean over IoU 0.50 to 0.95; “at” is the confidence of highest F1 for the class.",
                _class_table(summary, matches),
            ),
            _curves(matches, summary, conf=conf),
            _section(
                "Where the points are lost",
                f"Every wrong box at confidence {conf:.2f} by what is wrong, and what AP50 would gain without it.",
                _kinds(summary["errors"]),
            ),
            _section(
                "What was taken for what",
                f"At confidence {conf:.2f} and IoU 0.5. Green is right; last column: missed; last row: invented.",
                f'<div class="card">{heat_table(answer.labels, answer.counts.tolist())}</div>',
            ),
            _mistakes(table, picture_of, conf=conf),
            f"<footer>{escape(named.origin)} · protocol {escape(_protocol(summary))}</footer>",
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(named.model)} on {escape(named.dataset)} · diagnosis</title><style>{style}</style></head>"
        f"<body><main>{body}</main>{_slider_data(matches)}<script>{script}</script></body></html>\n"
    )


def _header(summary: Mapping[str, Any], matches: Matches, named: Heading) -> str:
    objects = int(np.count_nonzero(matches.truth_match >= UNMATCHED))
    unlabelled = summary["unannotated_pictures"]
    aside = f" {unlabelled:,} more without annotations say nothing and are left out." if unlabelled else ""
    return (
        f'<header><div class="eyebrow">Diagnosis</div><h1>{escape(named.model)} on {escape(named.dataset)}</h1>'
        f"<p>{summary['pictures']:,} pictures, {objects:,} objects, {len(matches.prediction_score):,} predictions, "
        f"{_protocol(summary)} protocol.{aside}</p></header>"
    )


def _protocol(summary: Mapping[str, Any]) -> str:
    return "COCO" if summary["protocol"] == "coco" else "YMIR"


def _tiles(summary: Mapping[str, Any]) -> str:
    at = summary["at_best_threshold"]
    best = summary["best_threshold"]
    note = f"at confidence {best['conf']:.2f}" if best else "no hit at all"
    tiles = [
        ("mAP50", _share(summary["ap50"]), "overlap of one half"),
        ("mAP50:95", _share(summary["ap"]), "mean over ten overlaps"),
        ("Precision", _share(at["precision"]), note),
        ("Recall", _share(at["recall"]), note),
        ("F1", _share(at["f1"]), note),
    ]
    return (
        '<section class="tiles">'
        + "".join(
            f'<div class="card tile"><div class="name">{name}</div><div class="value">{value}</div>'
            f'<div class="note">{about}</div></div>'
            for name, value, about in tiles
        )
        + "</section>"
    )


def _class_table(summary: Mapping[str, Any], matches: Matches) -> str:
    rows = []
    for name, scores in summary["per_class"].items():
        colour = matches.class_names.index(name) % SERIES_COLOURS
        ap50 = scores["ap50"]
        rows.append(
            f'<tr><td><i class="s{colour}"></i>{escape(name)}</td><td>{scores["truths"]:,}</td>'
            f"<td>{_share(ap50)}{bar(ap50 or 0.0)}</td><td>{_share(scores['ap'])}</td><td>{_share(scores['ar'])}</td>"
            f"<td>{_share(scores['best_f1'])}</td><td>{_share(scores['best_conf'])}</td>"
            f"<td>{scores['tp']:,}</td><td>{scores['fp']:,}</td><td>{scores['fn']:,}</td></tr>"
        )
    head = "".join(
        f"<th>{title}</th>"
        for title in ("Class", "Objects", "AP50", "AP", "AR", "Best F1", "at", "Right", "Wrong", "Missed")
    )
    return (
        f'<div class="card wide"><table class="classes"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _curves(matches: Matches, summary: Mapping[str, Any], *, conf: float) -> str:
    drawn = [name for name, scores in summary["per_class"].items() if scores["truths"] and scores["predictions"]]
    drawn.sort(key=lambda name: -summary["per_class"][name]["truths"])
    precision, f1 = [], []
    for name in drawn[:SERIES_COLOURS]:
        points, colour = curve(matches, class_name=name), matches.class_names.index(name) % SERIES_COLOURS
        envelope = np.maximum.accumulate(points.precision[::-1])[::-1]
        recall = points.recall.tolist()
        precision.append(Line(name, [(0.0, float(envelope[0])), *zip(recall, envelope.tolist(), strict=True)], colour))
        f1.append(Line(name, list(zip(points.scores.tolist(), points.f1.tolist(), strict=True)), colour))
    left = line_chart(precision, x_title="recall", y_title="precision", label="Precision over recall by class")
    right = line_chart(f1, x_title="confidence", y_title="F1", label="F1 over confidence by class")
    figures = "".join(
        f'<div><dt>{title}</dt><dd id="{key}">–</dd></div>'
        for key, title in (
            ("p", "Precision"),
            ("r", "Recall"),
            ("f1", "F1"),
            ("tp", "Right"),
            ("fp", "Wrong"),
            ("fn", "Missed"),
        )
    )
    probe = (
        '<div class="card probe"><label>Confidence <output id="conf-value"></output>'
        f'<input id="conf" type="range" min="0" max="1" step="0.0001" value="{conf:.4f}">'
        f"</label><dl>{figures}</dl></div>"
    )
    return _section(
        "Curves",
        "How far precision holds while recall grows, and which confidence suits which class. Try the slider.",
        f'<div class="two"><div class="card"><h3>Precision over recall</h3>{left}</div>'
        f'<div class="card"><h3>F1 over confidence</h3>{right}</div></div>{probe}',
    )


def _kinds(errors: Mapping[str, Mapping[str, Any]]) -> str:
    most = max([share["count"] for share in errors.values()] + [1])
    rows = []
    for kind, name, about in _KINDS:
        share = errors[kind.name.lower()]
        rows.append(
            f'<div class="kind"><div class="what">{name}<small>{about}</small></div>'
            f'<div class="track"><b style="width:{100 * share["count"] / most:.1f}%"></b></div>'
            f'<div class="figure">{share["count"]:,}<span>AP50 +{share["gain"]:.3f}</span></div></div>'
        )
    return f'<div class="card kinds">{"".join(rows)}</div>'


def _mistakes(table: pa.Table, picture_of: PictureLoader, *, conf: float) -> str:
    found = list(find_mistakes(table, conf=conf, per_kind=_PER_KIND))
    if not found:
        content = '<div class="card empty">Not one wrong box at this confidence.</div>'
        return _section("Mistakes, box by box", "Every box agrees with its label.", content)
    present = [kind for kind, _, _ in _KINDS if any(mistake.kind is kind for mistake in found)]
    chips = f'<button data-kind="all" aria-pressed="true">All<b>{len(found)}</b></button>' + "".join(
        f'<button data-kind="{kind.name}" aria-pressed="false">{_NAMES[kind]}'
        f"<b>{sum(mistake.kind is kind for mistake in found)}</b></button>"
        for kind in present
    )
    cards = "".join(_card(mistake, crop_of(mistake, picture_of(mistake.digest))) for mistake in _mixed(found, present))
    key = (
        "<p>The most confident false alarms and the largest missed objects come first.</p>"
        '<p><span class="key"><i></i>what the model said</span>'
        '<span class="key"><i class="r"></i>what the label says</span></p>'
    )
    return (
        f'<section><h2>Mistakes, box by box</h2>{key}<div class="chips">{chips}</div>'
        f'<div class="gallery">{cards}</div></section>'
    )


def _mixed(found: Sequence[Mistake], kinds: Sequence[ErrorKind]) -> list[Mistake]:
    """Returns the mistakes with the kinds taking turns, so that the first row shows one of each."""
    queues = [[mistake for mistake in found if mistake.kind is kind] for kind in kinds]
    return [queue[place] for place in range(max(map(len, queues))) for queue in queues if place < len(queue)]


def _card(mistake: Mistake, crop: Crop) -> str:
    x, y, w, h = crop.frame
    picture = f'<image href="{crop.address}" x="{x}" y="{y}" width="{w}" height="{h}"/>' if crop.address else ""
    missed = mistake.kind is ErrorKind.MISSED
    boxes = [("real", mistake.other)] if mistake.other else []
    boxes.append(("real" if missed else "said", mistake.box))
    drawn = "".join(
        f'<rect class="{name}" x="{box[0]:.2f}" y="{box[1]:.2f}" width="{box[2]:.2f}" height="{box[3]:.2f}" rx="1"/>'
        for tone, box in boxes
        for name in ("halo", tone)
    )
    said = mistake.class_name if mistake.score is None else f"{mistake.class_name} {mistake.score:.2f}"
    return (
        f'<figure class="mistake" data-kind="{mistake.kind.name}"><svg viewBox="{x} {y} {w} {h}" '
        f'preserveAspectRatio="xMidYMid slice" role="img" aria-label="{escape(said)}">{picture}{drawn}</svg>'
        f"<figcaption><strong>{escape(said)}</strong>{_explain(mistake)}"
        f'<div class="file">{mistake.digest[:12]}</div></figcaption></figure>'
    )


def _explain(mistake: Mistake) -> str:
    name = _NAMES[mistake.kind]
    if mistake.kind in (ErrorKind.CLASSIFICATION, ErrorKind.BOTH) and mistake.other_class is not None:
        return f"{name}: labelled {escape(mistake.other_class)}"
    if mistake.kind is ErrorKind.LOCALISATION and mistake.other_iou is not None:
        return f"{name}: IoU {mistake.other_iou:.2f}"
    return name


def _slider_data(matches: Matches) -> str:
    """Returns the scores (highest first) and outcomes of all predictions for the page's slider."""
    counted = np.flatnonzero(matches.prediction_match >= UNMATCHED)
    order = counted[np.argsort(-matches.prediction_score[counted], kind="stable")][:_MAX_SLIDER_ROWS]
    data = {
        "scores": [round(score, 4) for score in matches.prediction_score[order].tolist()],
        "hits": (matches.prediction_match[order] >= 0).astype(int).tolist(),
        "truths": int(np.count_nonzero(matches.truth_match >= UNMATCHED)),
    }
    return f'<script type="application/json" id="matches">{json.dumps(data, separators=(",", ":"))}</script>'


def _section(title: str, lead: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{lead}</p>{content}</section>"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
