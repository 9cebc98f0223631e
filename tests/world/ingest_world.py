"""The built-in ingest on sources made here: what it takes and what it says, checked for what always holds."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from lodeworks_builtin.ingest import ingest
from lodeworks_formats.blob_pack import read_packed
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture, check_picture
from lodeworks_formats.segments import read_pictures
from lodeworks_formats.task_inputs import IngestOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


def picture(seed: int = 0, extension: str = "jpg", *, width: int = 64, height: int = 48) -> bytes:
    """Returns a picture of noise."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    done, data = cv2.imencode(f".{extension}", image)
    assert done
    return data.tobytes()


def voc(*boxes: tuple[Any, ...], size: tuple[int, int] = (64, 48), confidence: object = None) -> bytes:
    """Returns an annotation with boxes of name, xmin, ymin, xmax, ymax."""
    score = "" if confidence is None else f"<confidence>{confidence}</confidence>"
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>{score}</object>\n"
        for name, x1, y1, x2, y2 in boxes
    )
    frame = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>\n{frame}\n{objects}</annotation>".encode()


CELL = ("cell", 5, 6, 14, 25)


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes a zip of files by name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def taken(source: Path, tmp_path: Path, **options: Any) -> tuple[dict[str, Any], dict[str, Picture]]:
    """Imports a source and returns its report and its pictures by name, having checked what always holds."""
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    shares: list[float] = []
    report = ingest(
        source,
        exchange=out / "exchange",
        blobs=out / "blobs",
        options=IngestOptions(**options),
        progress=lambda share, _: shares.append(share),
    )
    rows = list(read_pictures(out / "exchange"))
    told = report.to_json()
    assert json.loads(report.to_bytes()) == told
    for name in ("pictures", "annotations", "predictions", "boxes", "predicted_boxes"):
        counts = told[name]
        assert counts["total"] == counts["accepted"] + counts["merged"] + counts["rejected"], name
    files = told["files"]
    assert files["total"] == sum(files[key] for key in ("accepted", "merged", "rejected", "other"))
    assert sum(told["reasons"].values()) == len(told["problems"]) + told["problems_left_out"]
    assert told["pictures"]["accepted"] == len(rows)
    assert told["boxes"]["accepted"] == sum(len(row.boxes or ()) for row in rows) == sum(told["classes"].values())
    assert shares == sorted(shares)
    assert not list(out.glob("*.part"))
    blobs = read_packed(out / "blobs")
    assert all(sha256_hex(data) == digest for digest, data in blobs.items())
    for row in rows:
        check_picture(row)
        assert {row.digest, row.upright_digest} <= blobs.keys()
    return told, {row.names[0]: row for row in rows}


def reasons(told: dict[str, Any]) -> dict[str, str]:
    """Returns base name → reason of a report's problems."""
    return {Path(problem["file"]).name: problem["reason"] for problem in told["problems"]}


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """Returns a JPEG with an EXIF orientation."""
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
