"""A corpus of bad inputs for imports: each a source that is wrong in one way, and the line that the report must hold.

`python tests/world/hostile_sources.py FOLDER` writes them all, to try them by hand; with `--import`, it also imports
them in this one process and prints as JSON the most memory and the most bytes of scratch that one of them took.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import stat
import struct
import sys
import tarfile
import threading
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from ingest_world import CELL, picture, voc, with_exif
from lodeworks_builtin.ingest import ingest
from lodeworks_formats.errors import FormatError
from lodeworks_formats.task_inputs import IngestOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Files = dict[str, bytes]

REFUSED = "refused"
REJECTED, CLIPPED, NOTED, MERGED, TAKEN = "rejected", "clipped", "noted", "merged", "taken"


@dataclass(frozen=True, slots=True)
class BadSource:
    """One bad input.

    Attributes:
        name: What is wrong, as a file name.
        write: Writes the source to a path.
        reason: What the report, or the refusal, must say; "" for what is taken without a word.
        outcome: REFUSED as a whole, or what became of the one entry.
        file: The file that the report must name.
        line: The line in it.
        pictures: How many pictures come in all the same.
        boxes: How many boxes come in all the same.
        options: Of the import.
    """

    name: str
    write: Callable[[Path], object]
    reason: str
    outcome: str = REFUSED
    file: str = ""
    line: int | None = None
    pictures: int = 0
    boxes: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


GOOD: Files = {"images/good.jpg": picture(), "gt/good.xml": voc(CELL)}
LONG = "n" * 180
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAbEhQXFBEbFxYXHhwbIChCKyglJShROj0wQmBVZWRfVV1baniZgWpxkHNbXY"
    "W1hpCeo6utq2eAvMm6pseZqKuk/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EABcAAQEBAQAAAAAAAAAAAAAAAAAGBAX/"
    "xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oADgRDAE0AWQBLAAA/AKNrdpQAAAAP/9k="
)
"""A picture of 16 x 16 as printers want it."""


def zip_of(files: Mapping[str, bytes]) -> Callable[[Path], object]:
    """Returns a writer of a zip with these files."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)

    return write


def beside_good(
    name: str, files: Mapping[str, bytes], reason: str, outcome: str = REJECTED, *, file: str = "", **more: Any
) -> BadSource:
    """Returns a source with one sound picture and something bad beside it."""
    found = {"pictures": 1, "boxes": 1} | more
    return BadSource(name, zip_of({**GOOD, **files}), reason, outcome, file or next(iter(files)), **found)


def annotation(name: str, text: bytes, reason: str, outcome: str = REJECTED, **more: Any) -> BadSource:
    """Returns a source whose second picture has this annotation."""
    found = {"pictures": 2, "boxes": 1} | more
    files = {"gt/bad.xml": text, "images/bad.jpg": picture(1)}
    return BadSource(name, zip_of({**GOOD, **files}), reason, outcome, "gt/bad.xml", **found)


def one_box(edges: str) -> bytes:
    """Returns an annotation with one box on its third line."""
    return f"<annotation>\n<size/>\n<object><name>cell</name><bndbox>{edges}</bndbox></object></annotation>".encode()


def corners(*values: object) -> bytes:
    """Returns an annotation with one box of these corners."""
    keys = ("xmin", "ymin", "xmax", "ymax")
    return one_box("".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, values, strict=True)))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, data: bytes = b"", extra: bytes = b"") -> bytes:
    """Returns a PNG whose header says what it is told to."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


def animated_png() -> bytes:
    """Returns a PNG that says it has two frames."""
    body = struct.pack(">II", 2, 0)
    extra = struct.pack(">I", 8) + b"acTL" + body + struct.pack(">I", zlib.crc32(b"acTL" + body))
    return png(8, 8, data=bytes(8 * 25), extra=extra)


def encoded(extension: str, pixels: np.ndarray) -> bytes:
    """Returns pixels in a format of OpenCV's."""
    return cv2.imencode(f".{extension}", pixels)[1].tobytes()


def twelve_bit_jpeg() -> bytes:
    """Returns a JPEG whose frame says 12 bits."""
    data = bytearray(picture())
    place = data.index(b"\xff\xc0") + 4
    data[place] = 12
    return bytes(data)


def coco(**more: Any) -> bytes:
    """Returns a COCO file for images/good.jpg with one sound annotation, changed as told."""
    raw: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "good.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20]}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    return json.dumps(raw | more).encode()


def coco_box(**more: Any) -> bytes:
    """Returns a COCO file with a second, bad annotation."""
    good = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20]}
    return coco(annotations=[good, {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20]} | more])


def coco_source(name: str, data: bytes, reason: str, outcome: str = REJECTED, **more: Any) -> BadSource:
    """Returns a COCO source of one picture."""
    found = {"pictures": 1, "boxes": 1, "file": "x.json"} | more
    if outcome == REFUSED:
        found = {"file": "x.json"}
    files = {"images/good.jpg": GOOD["images/good.jpg"], "x.json": data}
    return BadSource(name, zip_of(files), reason, outcome, **found)


def yolo_source(
    name: str, label: bytes, reason: str, outcome: str = REJECTED, *, yaml: bytes = b"names: [cell]", **more
):
    """Returns a YOLO source of one picture."""
    files = {"images/good.jpg": GOOD["images/good.jpg"], "labels/good.txt": label}
    if yaml:
        files["data.yaml"] = yaml
    found = {"pictures": 1, "file": "labels/good.txt"} | more
    if outcome == REFUSED:
        found = {"file": more.get("file", "")}
    return BadSource(name, zip_of(files), reason, outcome, **found)


def tar_with(member: tarfile.TarInfo, data: bytes = b"") -> Callable[[Path], object]:
    """Returns a writer of a tar with one member beside the sound files."""

    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name, content in GOOD.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

    return write


def link(kind: bytes, name: str = "images/link.jpg", target: str = "/etc/passwd") -> tarfile.TarInfo:
    """Returns a member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_with_link(path: Path) -> None:
    """Writes a zip that holds a symbolic link."""
    info = zipfile.ZipInfo("images/a.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")


def raw(data: bytes) -> Callable[[Path], object]:
    """Returns a writer of these bytes."""
    return lambda path: path.write_bytes(data)


def cut_zip(path: Path) -> None:
    """Writes the first half of a zip."""
    zip_of(GOOD)(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def encrypted_zip(path: Path) -> None:
    """Writes a zip that says it is encrypted."""
    zip_of(GOOD)(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))


def lying_zip(path: Path) -> None:
    """Writes a zip whose directory promises less than the file unpacks to."""
    zip_of({**GOOD, "images/lie.jpg": bytes(3_000_000)})(path)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"images/lie.jpg") - 46
    data[place + 24 : place + 28] = struct.pack("<I", 1000)
    path.write_bytes(bytes(data))


def zip_bomb(path: Path) -> None:
    """Writes 1.25 GB of nothing in 1.2 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(20):
            with archive.open(f"images/{number}.jpg", "w") as sink:
                for _ in range(64):
                    sink.write(bytes(1 << 20))


def tar_bomb(path: Path) -> None:
    """Writes a packed tar of 1.25 GB of nothing."""
    import gzip  # noqa: PLC0415 — only here

    size = 1280 << 20
    info = tarfile.TarInfo("images/a.jpg")
    info.size = size
    with gzip.open(path, "wb", compresslevel=1) as sink:
        sink.write(info.tobuf(tarfile.PAX_FORMAT))
        for _ in range(size >> 20):
            sink.write(bytes(1 << 20))


def zip_twice(path: Path) -> None:
    """Writes a zip with the same name twice."""
    with zipfile.ZipFile(path, "w") as archive:
        for data in (picture(), picture(1)):
            archive.writestr("images/a.jpg" if data == picture() else "images/b.jpg", data)
        archive.getinfo("images/b.jpg").filename = "images/a.jpg"


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = (
    b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><object><name>&a;</name></object></annotation>'
)
DEEP = b"<annotation>" + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</annotation>"


def archives() -> Iterator[BadSource]:
    """Yields sources that are refused as a whole."""
    yield BadSource("empty-file", raw(b""), "BROKEN_ARCHIVE")
    yield BadSource("text-as-zip", raw(b"this is no archive"), "BROKEN_ARCHIVE")
    yield BadSource("half-a-zip", cut_zip, "BROKEN_ARCHIVE")
    yield BadSource("broken-gzip", raw(b"\x1f\x8b\x08\x00" + bytes(40)), "BROKEN_ARCHIVE")
    yield BadSource("zip-of-nothing", zip_of({}), "EMPTY_SOURCE")
    yield BadSource("zip-without-pictures", zip_of({"README": b"hello"}), "EMPTY_SOURCE")
    yield BadSource("encrypted-zip", encrypted_zip, "ENCRYPTED")
    yield BadSource("zip-bomb", zip_bomb, "BOMB")
    yield BadSource("tar-bomb", tar_bomb, "BOMB")
    yield BadSource("climbing-name", zip_of({"../../evil.jpg": picture()}), "UNSAFE_NAME", file="../../evil.jpg")
    yield BadSource("absolute-name", zip_of({"/etc/evil.jpg": picture()}), "UNSAFE_NAME", file="/etc/evil.jpg")
    yield BadSource("windows-name", zip_of({"C:\\evil.jpg": picture()}), "UNSAFE_NAME")
    yield BadSource("backslash-climbing", zip_of({"..\\evil.jpg": picture()}), "UNSAFE_NAME")
    yield BadSource("control-character-name", zip_of({"images/a\x07.jpg": picture()}), "UNSAFE_NAME")
    yield BadSource("name-of-2000-characters", zip_of({f"images/{'n' * 2000}.jpg": picture()}), "UNSAFE_NAME")
    yield BadSource("climbing-tar", tar_with(tarfile.TarInfo("../evil.jpg")), "UNSAFE_NAME")
    yield BadSource("symbolic-link-in-zip", zip_with_link, "LINK", file="images/a.jpg")
    yield BadSource("symbolic-link-in-tar", tar_with(link(tarfile.SYMTYPE)), "LINK")
    yield BadSource("hard-link-in-tar", tar_with(link(tarfile.LNKTYPE)), "LINK")
    yield BadSource("device-in-tar", tar_with(link(tarfile.CHRTYPE)), "LINK")
    yield BadSource("fifo-in-tar", tar_with(link(tarfile.FIFOTYPE)), "LINK")


def pictures() -> Iterator[BadSource]:
    """Yields sources with a bad or odd picture."""
    good = picture(9)
    yield beside_good("zero-bytes", {"images/bad.jpg": b""}, "EMPTY_FILE")
    yield beside_good("text-as-jpg", {"images/bad.jpg": b"text"}, "WRONG_FORMAT")
    yield beside_good("svg-as-png", {"images/bad.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, "WRONG_FORMAT")
    yield beside_good("gif", {"images/bad.gif": b"GIF89a" + bytes(20)}, "WRONG_FORMAT")
    yield beside_good("pdf-as-jpg", {"images/bad.jpg": b"%PDF-1.7"}, "WRONG_FORMAT")
    yield beside_good("truncated-jpg", {"images/bad.jpg": good[:-200]}, "TRUNCATED")
    yield beside_good("truncated-png", {"images/bad.png": picture(9, "png")[:-200]}, "TRUNCATED")
    yield beside_good("truncated-webp", {"images/bad.webp": picture(9, "webp")[:-200]}, "TRUNCATED")
    yield beside_good("truncated-bmp", {"images/bad.bmp": picture(9, "bmp")[:-200]}, "TRUNCATED")
    yield beside_good("truncated-tiff", {"images/bad.tiff": picture(9, "tiff")[:40]}, "TRUNCATED")
    yield beside_good("header-only-jpg", {"images/bad.jpg": b"\xff\xd8\xff\xe0"}, "TRUNCATED")
    yield beside_good("no-pixels", {"images/bad.png": png(0, 5)}, "UNREADABLE_PICTURE")
    yield beside_good("pixel-bomb", {"images/bad.png": png(60_000, 60_000)}, "PIXEL_BOMB")
    yield beside_good("widest-possible", {"images/bad.png": png(2**31 - 1, 2**31 - 1)}, "PIXEL_BOMB")
    yield beside_good("twelve-bits-jpg", {"images/bad.jpg": twelve_bit_jpeg()}, "UNREADABLE_PICTURE")
    yield beside_good("broken-scan-turned", {"images/bad.webp": _broken_webp()}, "UNREADABLE_PICTURE")
    lie = "images/lie.jpg"
    yield BadSource("lying-size", lying_zip, "UNREADABLE_FILE", REJECTED, lie, pictures=1, boxes=1)
    yield beside_good("identical", {"images/twin.jpg": GOOD["images/good.jpg"]}, "IDENTICAL", MERGED)
    yield BadSource("same-name-twice", zip_twice, "DUPLICATE_NAME", REJECTED, "images/a.jpg", pictures=1)
    yield beside_good("same-stem-twice", {"images/good.png": picture(2, "png")}, "DUPLICATE_NAME")
    yield beside_good("wrong-extension", {"images/odd.png": good}, "WRONG_EXTENSION", NOTED, pictures=2)
    deep = np.random.default_rng(0).integers(0, 65535, (8, 8, 3), dtype=np.uint16)
    yield beside_good("sixteen-bits", {"images/odd.png": encoded("png", deep)}, "DEEP_PICTURE", NOTED, pictures=2)
    yield beside_good(
        "sixteen-bits-tiff", {"images/odd.tiff": encoded("tiff", deep)}, "DEEP_PICTURE", NOTED, pictures=2
    )
    yield beside_good("animated-png", {"images/odd.png": animated_png()}, "SEVERAL_PICTURES", NOTED, pictures=2)
    yield beside_good("cmyk", {"images/odd.jpg": CMYK}, "PICTURE_WITHOUT_ANNOTATION", NOTED, pictures=2)
    for orientation in range(2, 9):
        files = {f"images/turned-{orientation}.jpg": with_exif(good, orientation)}
        yield beside_good(f"exif-{orientation}", files, "PICTURE_WITHOUT_ANNOTATION", NOTED, pictures=2)
    for name in ("血球.jpg", "naïve é̈.jpg", f"{LONG}.jpg", "a b'c\"d&e.jpg", ".hidden.jpg"):
        yield beside_good(f"name-{name[:6]}", {f"images/{name}": good}, "PICTURE_WITHOUT_ANNOTATION", NOTED, pictures=2)
    yield beside_good("junk-among-pictures", {"images/notes.docx": b"PK"}, "WRONG_FORMAT")
    yield beside_good("resource-forks", {"__MACOSX/images/._good.jpg": b"x", "images/Thumbs.db": b"x"}, "", TAKEN)
    yield beside_good(
        "too-large", {"images/bad.jpg": bytes(300_000)}, "TOO_LARGE", options={"max_picture_bytes": 100_000}
    )


def _broken_webp() -> bytes:
    data = bytearray(picture(9, "webp"))
    data[40:200] = bytes(160)
    return bytes(data)


def annotations() -> Iterator[BadSource]:
    """Yields sources with a bad VOC annotation."""
    yield annotation("empty-xml", b"", "BROKEN_XML")
    yield annotation("cut-xml", b"<annotation>\n<object>", "BROKEN_XML", line=2)
    yield annotation("html-as-xml", b"<html/>", "NOT_VOC")
    yield annotation("entity-expansion", LAUGHS, "HOSTILE_XML")
    yield annotation("outside-entity", OUTSIDE, "HOSTILE_XML")
    yield annotation("hidden-entity", LAUGHS.decode().encode("utf-16"), "HOSTILE_XML")
    yield annotation("deep-xml", DEEP, "", TAKEN)
    yield annotation("wrong-encoding", "<annotation><folder>\xe9</folder></annotation>".encode("latin-1"), "BROKEN_XML")
    yield annotation("unknown-encoding", b'<?xml version="1.0" encoding="klingon"?><annotation/>', "BROKEN_XML")
    yield annotation("picture-as-xml", picture(), "BROKEN_XML")
    yield annotation("nan-box", corners("nan", 1, 9, 9), "BAD_BOX", line=3)
    yield annotation("infinite-box", corners(1, 1, "inf", 9), "BAD_BOX", line=3)
    yield annotation("overflowing-box", corners(1, 1, "1e999", 9), "BAD_BOX", line=3)
    yield annotation("word-box", corners(1, "two", 9, 9), "BAD_BOX", line=3)
    yield annotation("box-without-corner", one_box("<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"), "BAD_BOX", line=3)
    yield annotation("negative-box", corners(-50, -50, -20, -20), "BOX_OUTSIDE")
    yield annotation("box-outside", corners(500, 500, 600, 600), "BOX_OUTSIDE")
    yield annotation("box-over-the-edge", corners(-20, 5, 30, 30), "BOX_CLIPPED", CLIPPED, boxes=2)
    yield annotation("flat-box", corners(5, 5, 5, 20), "ZERO_AREA_BOX", line=3)
    yield annotation("reversed-box", corners(20, 20, 5, 5), "ZERO_AREA_BOX", line=3)
    yield annotation("nameless-object", b"<annotation><object><bndbox/></object></annotation>", "BAD_BOX")
    long = f"<annotation><object><name>{'x' * 300}</name><bndbox/></object></annotation>".encode()
    yield annotation("class-name-of-300-characters", long, "BAD_CLASS_NAME")
    yield annotation("missing-sizes", voc(CELL).replace(b"<width>64</width>", b""), "", TAKEN, boxes=2)
    yield annotation("size-of-another-picture", voc(CELL, size=(640, 480)), "SIZE_DIFFERS", NOTED, boxes=2)
    yield beside_good("annotation-without-picture", {"gt/lost.xml": voc(CELL)}, "ANNOTATION_WITHOUT_PICTURE")
    yield beside_good(
        "annotation-of-a-bad-picture", {"gt/bad.xml": voc(CELL), "images/bad.jpg": b""}, "PICTURE_REJECTED"
    )
    yield beside_good("prediction-without-score", {"pred/good.xml": voc(CELL)}, "NO_SCORE")
    meta = {"pred/meta.yaml": b"model: [", "pred/good.xml": voc(CELL, confidence=0.5)}
    yield beside_good("broken-meta", meta, "BAD_META", NOTED)


def shared_annotations() -> Iterator[BadSource]:
    """Yields sources with bad COCO or YOLO."""
    yield coco_source("coco-no-json", b"{", "BAD_COCO", REFUSED)
    yield coco_source("coco-list", b"[]", "BAD_COCO", REFUSED)
    yield coco_source("coco-deep", b"[" * 100_000, "BAD_COCO", REFUSED)
    yield coco_source(
        "coco-category-twice", coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "BAD_COCO", REFUSED
    )
    yield coco_source("coco-wrong-image", coco_box(image_id=99), "ANNOTATION_WITHOUT_IMAGE")
    yield coco_source("coco-wrong-category", coco_box(category_id=99), "UNKNOWN_CATEGORY")
    yield coco_source("coco-nan", coco_box(bbox=[float("nan"), 1, 2, 3]), "BAD_BOX")
    yield coco_source("coco-huge-number", coco_box(bbox=[10**400, 1, 2, 3]), "BAD_BOX")
    yield coco_source("coco-three-numbers", coco_box(bbox=[1, 2, 3]), "BAD_BOX")
    yield coco_source("coco-words", coco_box(bbox="none"), "BAD_BOX")
    yield coco_source("coco-negative-width", coco_box(bbox=[5, 5, -3, 4]), "ZERO_AREA_BOX")
    yield coco_source("coco-outside", coco_box(bbox=[500, 500, 3, 4]), "BOX_OUTSIDE")
    twice = [{"id": 1, "file_name": "good.jpg"}, {"id": 1, "file_name": "other.jpg"}]
    yield coco_source("coco-image-id-twice", coco(images=twice), "DUPLICATE_ID", NOTED)
    lost = [{"id": 1, "file_name": "good.jpg"}, {"id": 2, "file_name": "../../etc/passwd"}]
    yield coco_source(
        "coco-climbing-name", coco(images=lost), "ANNOTATION_WITHOUT_PICTURE", NOTED, file="../../etc/passwd"
    )
    yield yolo_source("yolo-without-names", b"3 0.5 0.5 0.1 0.1", "YOLO_WITHOUT_NAMES", REFUSED, yaml=b"")
    yield yolo_source("yolo-names-missing", b"0 0.5 0.5 0.1 0.1", "YOLO_WITHOUT_NAMES", REFUSED, yaml=b"nc: 1")
    yield yolo_source("yolo-broken-yaml", b"", "BAD_YOLO", REFUSED, yaml=b"names: [", file="data.yaml")
    code = b"names: !!python/object/apply:os.system [id]"
    yield yolo_source("yolo-yaml-with-code", b"", "BAD_YOLO", REFUSED, yaml=code, file="data.yaml")
    yield yolo_source("yolo-wrong-class", b"\n7 0.5 0.5 0.1 0.1", "UNKNOWN_CLASS_NUMBER", line=2)
    yield yolo_source("yolo-nan", b"0 nan 0.5 0.1 0.1", "BAD_YOLO", line=1)
    yield yolo_source("yolo-words", b"cell 0.5 0.5 0.1 0.1", "BAD_YOLO", line=1)
    yield yolo_source("yolo-three-numbers", b"0 0.5 0.5", "BAD_YOLO", line=1)
    yield yolo_source("yolo-pixels", b"0 320 240 100 100", "BOX_OUTSIDE")
    yield yolo_source("yolo-no-area", b"0 0.5 0.5 0 0.1", "ZERO_AREA_BOX", line=1)
    yield yolo_source("yolo-binary", bytes(range(256)), "BAD_YOLO", line=1)


def corpus() -> list[BadSource]:
    """Returns every bad source."""
    return [*archives(), *pictures(), *annotations(), *shared_annotations()]


def measure(folder: Path) -> dict[str, int]:
    """Imports every bad source in this process; returns the peak of its memory and of the scratch, in bytes."""
    most = 0
    for bad in corpus():
        out = folder / "out"
        out.mkdir(parents=True)
        watch = _Watch(out)
        with suppress(FormatError), watch:
            ingest(
                folder / f"{bad.name}.zip",
                exchange=out / "exchange",
                blobs=out / "blobs",
                options=IngestOptions(**bad.options),
                progress=lambda *_: None,
            )
        most = max(most, watch.most)
        shutil.rmtree(out)
    return {"sources": len(corpus()), "peak_bytes": _peak_bytes(), "scratch_bytes": most}


def _peak_bytes() -> int:
    """Returns the most memory that this program held; getrusage would count the program that started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


class _Watch:
    """Looks a hundred times a second how much lies in a folder."""

    def __init__(self, folder: Path) -> None:
        self.most = 0
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            with suppress(OSError):
                self.most = max(self.most, sum(path.lstat().st_size for path in self._folder.rglob("*")))


def main(folder: Path, *, imported: bool) -> None:
    """Writes every bad source into a folder, and imports them if that is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    for bad in corpus():
        bad.write(folder / f"{bad.name}.zip")
    if imported:
        print(json.dumps(measure(folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), imported="--import" in sys.argv)
