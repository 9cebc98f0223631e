"""Packs read back as they were written, and a damaged or foreign one is refused."""

import hashlib
from pathlib import Path

import pytest
from lodeworks_formats.blob_pack import PACK_BYTES, PackWriter, pack_path, packed_blobs, packs, read_packed, remove_pack
from lodeworks_formats.errors import FormatError


def put(writer: PackWriter, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    writer.put(digest, data)
    return digest


def test_a_pack_is_seen_when_it_is_full_or_flushed(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    first = put(writer, b"x")
    assert packs(tmp_path) == []
    second = put(writer, b"y" * PACK_BYTES)
    assert len(packs(tmp_path)) == 1
    third = put(writer, b"z")
    writer.flush()
    writer.flush()
    assert [one.digest for name in packs(tmp_path) for one in packed_blobs(tmp_path, name)] == [first, second, third]
    assert read_packed(tmp_path)[third] == b"z"


def test_another_writer_goes_on_behind(tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        writer = PackWriter(tmp_path)
        put(writer, data)
        writer.flush()
    half = PackWriter(tmp_path)
    put(half, b"of a run that was killed")
    half.close()
    assert sorted(read_packed(tmp_path).values()) == [b"one", b"two"]
    for name in packs(tmp_path):
        remove_pack(tmp_path, name)
    assert packs(tmp_path) == []


def test_nothing_is_there(tmp_path: Path) -> None:
    assert packs(tmp_path / "nowhere") == []


@pytest.mark.parametrize("index", [b"no digest 3\n", b"0" * 64 + b" 4\n", b"0" * 64 + b" -3\n", b"0" * 64 + b" 3"])
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, index: bytes) -> None:
    (tmp_path / "1.pack").write_bytes(b"abc")
    (tmp_path / "1.index").write_bytes(index)
    with pytest.raises(FormatError) as caught:
        packed_blobs(tmp_path, "1")
    assert caught.value.reason == "BAD_PACK"


def test_links_are_no_packs(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"abc")
    (tmp_path / "1.index").write_bytes(hashlib.sha256(b"abc").hexdigest().encode() + b" 3\n")
    pack_path(tmp_path, "1").symlink_to(tmp_path / "secret")
    assert packs(tmp_path) == []
