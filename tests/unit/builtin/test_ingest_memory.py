"""What an import remembers of each file lies on disk: memory is the same for few files and for many."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from lodeworks_builtin.ingesting.index import Index, opened_index
from lodeworks_builtin.ingesting.layout import layout_of
from lodeworks_builtin.ingesting.listing import Listing
from lodeworks_builtin.ingesting.recognition import recognise
from lodeworks_builtin.ingesting.seen import Seen
from lodeworks_builtin.ingesting.source import Entry, opened_source
from lodeworks_formats.errors import FormatError
from lodeworks_formats.task_inputs import IngestOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEW, MANY = 1_000, 3_000
MOST_BYTES = 8
"""What is held for one more picture: its place, and what the interpreter has by chance."""


def _entries(pictures: int) -> Iterator[Entry]:
    for number in range(pictures):
        yield Entry(f"labels/{number:07}.txt", 100, b"place")
        yield Entry(f"images/{number:07}.jpg", 1000, b"place")
        yield Entry(f"notes/{number:07}.txt", 1, b"place")


def _held_bytes(folder: Path, pictures: int) -> int:
    """Returns what is held after an import's files are listed, placed and met."""
    with opened_index(folder) as index:
        listing = Listing(index, _entries(pictures))
        assert recognise(listing, wanted="auto").format == "yolo"
        layout = layout_of(listing, index, folders={"images": "pictures", "labels": "annotations"}, suffix=".txt")
        assert (len(layout.candidates), layout.others) == (pictures, pictures)
        seen = Seen(index)
        for place, candidate in enumerate(layout.candidates):
            assert candidate.truth is not None
            digest = hashlib.sha256(candidate.name.encode()).digest()
            assert seen.first(digest) is None
            seen.add(digest, place)
        return tracemalloc.get_traced_memory()[0]


def test_what_is_held_does_not_grow_with_the_files(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        _held_bytes(tmp_path, 100)  # what is made once
        few, many = _held_bytes(tmp_path, FEW), _held_bytes(tmp_path, MANY)
    finally:
        tracemalloc.stop()
    assert many - few < MOST_BYTES * (MANY - FEW)


def test_a_tar_is_listed_header_by_header(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(FEW):
            info = tarfile.TarInfo(f"images/{number}.jpg")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    with opened_source(path, options=IngestOptions(), work_folder=tmp_path) as source:
        tracemalloc.start()
        try:
            names = sum(1 for _ in source.entries())
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert names == FEW
    assert held < 100 * FEW


def test_the_index_has_no_name_and_a_full_disk_is_said(tmp_path: Path) -> None:
    def fill(index: Index) -> None:
        assert not list(tmp_path.iterdir())
        index.execute("PRAGMA max_page_count = 20")
        Listing(index, _entries(MANY))

    with pytest.raises(FormatError) as refused, opened_index(tmp_path) as index:
        fill(index)
    assert refused.value.reason == "DISK_FULL"
