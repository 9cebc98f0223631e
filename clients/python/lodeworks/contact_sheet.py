"""A page of small pictures with their boxes drawn over them: one HTML file without script or network."""

from __future__ import annotations

import base64
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from lodeworks.api.dataset.v1 import dataset_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KINDS = {
    pb.BOX_OUTCOME_TRUE_POSITIVE: "tp",
    pb.BOX_OUTCOME_FALSE_POSITIVE: "fp",
    pb.BOX_OUTCOME_FALSE_NEGATIVE: "fn",
}
_KEY = (("gt", "label"), ("tp", "found"), ("fp", "invented"), ("fn", "missed"), ("un", "predicted, not compared"))
_STYLE = """
:root{color-scheme:light dark;--ground:#f6f6f4;--card:#fff;--ink:#1c1c1a;--soft:#6b6b66;--line:#dcdcd6;
--gt:#0072b2;--tp:#009e73;--fp:#d55e00;--fn:#c4006a;--un:#8a8a84}
@media(prefers-color-scheme:dark){:root{--ground:#161615;--card:#222220;--ink:#ecece8;--soft:#a0a099;--line:#383834;
--gt:#56b4e9;--tp:#2fc79b;--fp:#ff8a3d;--fn:#ff6ab8;--un:#8a8a84}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
main{max-width:1500px;margin:0 auto;padding:28px 20px 48px}h1{font-size:24px;margin:0 0 4px;overflow-wrap:anywhere}
p{margin:0;color:var(--soft)}.key{display:flex;flex-wrap:wrap;gap:6px 18px;margin:14px 0 20px;color:var(--soft)}
.key i{display:inline-block;width:14px;height:14px;margin-right:6px;border-style:solid;border-width:2.5px;
border-radius:2px;vertical-align:-2px}.key i.fn{border-style:dashed}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(250px,100%),1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden;display:flex;
flex-direction:column}.frame{background:var(--line);display:flex;align-items:center;justify-content:center;flex:1}
svg{display:block;width:100%;height:auto;max-height:320px}figcaption{padding:8px 10px;font-size:13px}
figcaption b{display:block;overflow-wrap:anywhere;font-weight:600}figcaption span{color:var(--soft)}
rect{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}.gt{stroke:var(--gt);border-color:var(--gt)}
.tp{stroke:var(--tp);border-color:var(--tp)}.fp{stroke:var(--fp);border-color:var(--fp)}
.fn{stroke:var(--fn);border-color:var(--fn);stroke-dasharray:5 3}.un{stroke:var(--un);border-color:var(--un)}
.none{padding:60px 0;color:var(--soft);text-align:center;width:100%}
@media(max-width:640px){main{padding:20px 12px 36px}.sheet{grid-template-columns:1fr 1fr;gap:10px}}
"""


def contact_sheet_html(title: str, pictures: Sequence[pb.Picture], thumbnails: Mapping[str, bytes]) -> str:
    """Returns the page.

    Args:
        title: What the pictures are, such as ``cells@3``.
        pictures: In the order in which they are shown.
        thumbnails: Digest of a picture → its small JPEG; one that is missing shows an empty frame.
    """
    kinds: set[str] = set()
    figures = "".join(_figure(picture, thumbnails.get(picture.digest), kinds) for picture in pictures)
    key = "".join(f'<span><i class="{kind}"></i>{name}</span>' for kind, name in _KEY if kind in kinds)
    many = f"{len(pictures):,} picture{'' if len(pictures) == 1 else 's'}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p>{many}</p><div class="key">{key}</div>'
        f'<div class="sheet">{figures}</div></main></body></html>\n'
    )


def _figure(picture: pb.Picture, thumbnail: bytes | None, kinds: set[str]) -> str:
    name = picture.names[0] if picture.names else picture.digest[:16]
    return (
        f'<figure><div class="frame">{_drawing(picture, thumbnail, name, kinds)}</div>'
        f"<figcaption><b>{escape(name)}</b><span>{escape(_about(picture))}</span></figcaption></figure>"
    )


def _drawing(picture: pb.Picture, thumbnail: bytes | None, name: str, kinds: set[str]) -> str:
    if thumbnail is None:
        return '<div class="none">cannot be decoded</div>'
    data = base64.b64encode(thumbnail).decode("ascii")
    width, height = picture.width, picture.height
    boxes = "".join(_rect(box, kind, kinds) for box, kind in _shown(picture))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">'
        f'<image href="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none"/>{boxes}</svg>'
    )


def _shown(picture: pb.Picture) -> list[tuple[pb.Box, str]]:
    """Returns the boxes to draw: labels that were found are drawn as the prediction that found them."""
    compared = any(box.outcome for box in (*picture.boxes, *picture.predictions))
    labels = [(box, _KINDS.get(box.outcome, "gt")) for box in picture.boxes]
    predicted = [(box, _KINDS.get(box.outcome, "un")) for box in picture.predictions]
    if compared:
        labels = [(box, kind) for box, kind in labels if kind != "tp"]
        predicted = [(box, kind) for box, kind in predicted if kind != "un"]
    return [*labels, *predicted]


def _rect(box: pb.Box, kind: str, kinds: set[str]) -> str:
    kinds.add(kind)
    score = f" {box.score:.2f}" if box.HasField("score") else ""
    return (
        f'<rect class="{kind}" x="{box.x:g}" y="{box.y:g}" width="{box.w:g}" height="{box.h:g}">'
        f"<title>{escape(box.class_name)}{score}</title></rect>"
    )


def _about(picture: pb.Picture) -> str:
    boxes = f"{len(picture.boxes)} box{'' if len(picture.boxes) == 1 else 'es'}" if picture.annotated else "no labels"
    kinds = Counter(kind for _, kind in _shown(picture))
    told = [f"{kinds[kind]} {name}" for kind, name in _KEY if kind in ("tp", "fp", "fn") and kinds[kind]]
    return " · ".join([f"{picture.width} × {picture.height}", boxes, *told, *picture.tags])
