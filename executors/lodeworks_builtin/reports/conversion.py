"""The report of a conversion as one HTML page, and the model card as Markdown."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lodeworks_builtin.reports.scatter import Point, scatter_chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MIB = 1 << 20


def conversion_html(report: Mapping[str, Any]) -> str:
    """Returns the report of `Conversion.report()` as a self-contained page: accuracy over latency, then the numbers."""
    style = files(__package__).joinpath("diagnosis.css").read_text("utf-8")
    body = "".join(
        [
            _header(report),
            _section(
                "Accuracy over latency",
                f"mAP50:95 on {report['guard']['pictures']:,} guard pictures; milliseconds from a decoded picture to "
                f"its boxes, one thread, one picture a time, all variants in turns on {_machine(report)}.",
                f'<div class="card">{_scatter(report)}</div>',
            ),
            _section(
                "Variants",
                "Drop and speed-up are against the stage itself: in fp32, by onnxruntime.",
                _variants(report),
            ),
            _section("Classes", "mAP50:95 of each class, and what it lost.", _classes(report)),
            _section(
                "What was tried",
                f"A variant passes when it loses at most {report['max_drop']:.4f} mAP50:95 and no class.",
                "".join(_tried(variant) for variant in report["variants"]),
            ),
            f"<footer>{escape(_tools(report))}</footer>",
        ]
    )
    title = escape(report["name"] or "Conversion")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · variants</title><style>{style}{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


_STYLE = (
    "pre{overflow-x:auto;font-size:13px;line-height:1.5;margin:8px 0 0}"
    ".refused{color:var(--bad)}.passes{color:var(--good)}"
    ".leader{fill:none;stroke:currentColor;stroke-width:1;opacity:.35}"
    ".dot{fill:currentColor}.label{fill:var(--ink);font-size:12px}"
)


def card_markdown(report: Mapping[str, Any]) -> str:
    """Returns the model card: what it is, where it comes from, how good and how fast each variant is."""
    lines = [
        f"# {report['name'] or 'Model'}",
        "",
        f"Detects {', '.join(report['class_names'])}.",
        "",
        "| variant | mAP50:95 | mAP50 | drop | p50 ms | speed-up | size | package |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one['name']} | {one['map']:.4f} | {one['map50']:.4f} | {_signed(one['drop'])} | {_milliseconds(one)} | "
        f"{_factor(one['speed_up'])} | {_size(one['size_bytes'])} | {(one['package_id'] or 'refused')[:12]} |"
        for one in report["variants"]
    ]
    lines += [
        "",
        f"Measured on {report['guard']['pictures']} pictures with {report['guard']['boxes']} boxes.",
        f"Latency on {_machine(report)}, one thread, one picture a time.",
        "",
        "| class | mAP50:95 of the stage |",
        "| --- | --- |",
        *(f"| {name} | {score:.4f} |" for name, score in report["reference"]["per_class"].items()),
        "",
        "## Origin",
        "",
        *(f"- {key}: {value}" for key, value in sorted(report["provenance"].items())),
        f"- calibration: {report['calibration']['pictures']} pictures, seed {report['calibration']['seed']}",
        "",
    ]
    return "\n".join(lines)


def _header(report: Mapping[str, Any]) -> str:
    refused = report["refused"]
    verdict = (
        f'<span class="refused">Refused by the guard: {escape(", ".join(refused))}.</span>'
        if refused
        else '<span class="passes">Every variant passes the guard.</span>'
    )
    name = escape(report["name"] or "Variants of a stage")
    return f'<header><div class="eyebrow">Conversion</div><h1>{name}</h1><p>{verdict}</p></header>'


def _section(title: str, about: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(about)}</p>{content}</section>"


def _scatter(report: Mapping[str, Any]) -> str:
    points = [
        Point(label, one["latency"]["p50_ms"], one["map"], colour)
        for colour, (label, one) in enumerate(
            [("the stage (onnxruntime)", report["reference"]), *((one["name"], one) for one in report["variants"])]
        )
        if one["latency"] is not None
    ]
    return scatter_chart(points, x_title="latency p50, ms", y_title="mAP50:95")


def _variants(report: Mapping[str, Any]) -> str:
    rows = [
        [
            one["name"],
            f"{one['map50']:.4f}",
            f"{one['map']:.4f}",
            _signed(one["drop"]),
            _milliseconds(one),
            f"{one['latency']['p95_ms']:.2f}" if one["latency"] else "–",
            f"{one['latency']['throughput_per_s']:.0f}" if one["latency"] else "–",
            _factor(one.get("speed_up")),
            _size(one.get("size_bytes")),
            _size(one.get("peak_memory_bytes")),
            f"{one['max_score_delta']:.4f}" if one.get("max_score_delta") is not None else "–",
            "refused" if one.get("accepted") is False else "",
        ]
        for one in [{**report["reference"], "name": "the stage", "drop": 0.0, "speed_up": 1.0}, *report["variants"]]
    ]
    head = [
        "",
        "mAP50",
        "mAP50:95",
        "drop",
        "p50 ms",
        "p95 ms",
        "per s",
        "speed-up",
        "size",
        "memory",
        "max |Δscore|",
        "",
    ]
    return _table(head, rows)


def _classes(report: Mapping[str, Any]) -> str:
    reference = report["reference"]["per_class"]
    rows = [
        [
            name,
            f"{score:.4f}",
            *(
                f"{one['per_class'].get(name, 0.0):.4f} ({_signed(-one['class_drops'].get(name, 0.0))})"
                for one in report["variants"]
            ),
        ]
        for name, score in reference.items()
    ]
    return _table(["class", "the stage", *(one["name"] for one in report["variants"])], rows)


def _tried(variant: Mapping[str, Any]) -> str:
    kind = "passes" if variant["accepted"] else "refused"
    return (
        f'<div class="card"><h3>{escape(variant["name"])} · <span class="{kind}">{kind}</span></h3>'
        f"<pre>{escape(variant['table'])}</pre></div>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="card wide"><table class="classes"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _machine(report: Mapping[str, Any]) -> str:
    machine = report["hardware"]
    return f"{machine['processor']} ({', '.join(machine['flags']) or machine['system']})"


def _tools(report: Mapping[str, Any]) -> str:
    tools = {name: version for one in report["variants"] for name, version in one["tools"].items()}
    return "Made with " + ", ".join(f"{name} {version}" for name, version in sorted(tools.items()))


def _signed(value: float) -> str:
    # Without the sum a loss of nothing would be printed as -0.0000.
    return f"{round(value, 4) + 0.0:+.4f}"


def _milliseconds(one: Mapping[str, Any]) -> str:
    return f"{one['latency']['p50_ms']:.2f}" if one["latency"] else "–"


def _factor(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ×"


def _size(size_bytes: int | None) -> str:
    return "–" if size_bytes is None else f"{size_bytes / _MIB:.1f} MiB"
