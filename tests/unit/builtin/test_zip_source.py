"""Zips are read as the standard library reads them, with a few bytes per entry."""

import io
import sys
import zipfile
from pathlib import Path

import pytest
from lodeworks_builtin.ingesting.zip_source import ZipReader

FILES = {"a.txt": b"a" * 5000, "folder/b.bin": bytes(range(256)) * 40, "empty": b"", "\u00fcber/c": b"c"}


def packed(method: int, **more: object) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.comment = b"PK\5\6 is no end of this"
        for name, data in FILES.items():
            with archive.open(zipfile.ZipInfo(name), "w", **more) as entry:  # type: ignore[arg-type]
                entry.write(data)
        archive.mkdir("nothing")
    return stream.getvalue()


class OneWay(io.RawIOBase):
    """A stream that cannot go back, so that sizes follow the bytes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def streamed() -> bytes:
    sink = OneWay()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return bytes(sink.data)


def read(path: Path) -> dict[str, bytes]:
    reader = ZipReader(path)
    try:
        return {one.name: reader.read(one.place, name=one.name, size_bytes=one.size_bytes) for one in reader.entries()}
    finally:
        reader.close()


@pytest.mark.parametrize(
    "data",
    [
        packed(zipfile.ZIP_STORED),
        packed(zipfile.ZIP_DEFLATED),
        packed(zipfile.ZIP_BZIP2),
        packed(zipfile.ZIP_LZMA),
        packed(zipfile.ZIP_DEFLATED, force_zip64=True),
        b"#!/bin/sh\n" + packed(zipfile.ZIP_DEFLATED),
        streamed(),
    ],
    ids=["stored", "deflated", "bzip2", "lzma", "zip64", "behind a program", "streamed"],
)
def test_every_form_reads_back(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.zip").write_bytes(data)
    assert read(tmp_path / "s.zip") == FILES


def test_more_files_than_the_short_form_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # the writer's, of 65,535
    data = packed(zipfile.ZIP_DEFLATED)
    assert b"PK\6\6" in data
    (tmp_path / "s.zip").write_bytes(data)
    assert read(tmp_path / "s.zip") == FILES


@pytest.mark.parametrize("change", ["bytes", "length", "place"])
def test_damage_is_told(tmp_path: Path, change: str) -> None:
    data = bytearray(packed(zipfile.ZIP_STORED))
    at = data.index(b"aaaa")
    if change == "bytes":
        data[at] ^= 1
    directory = data.index(b"PK\1\2")
    if change == "length":
        data[directory + 20 : directory + 24] = (4000).to_bytes(4, "little")
    if change == "place":
        data[directory + 42 : directory + 46] = (7).to_bytes(4, "little")
    (tmp_path / "s.zip").write_bytes(bytes(data))
    with pytest.raises(zipfile.BadZipFile):
        read(tmp_path / "s.zip")


def test_an_entry_costs_a_few_bytes(tmp_path: Path) -> None:
    (tmp_path / "s.zip").write_bytes(packed(zipfile.ZIP_DEFLATED))
    reader = ZipReader(tmp_path / "s.zip")
    assert all(sys.getsizeof(one.place) < 64 for one in reader.entries())
    reader.close()
