"""A folder on its way to the server: one archive that depends on names and contents alone, packed in flat memory."""

from __future__ import annotations

import os
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from lodeworks.errors import InvalidError
from lodeworks.folder import archive_of, pack, size_of

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a/z.jpg", "a/b/c.jpg", "a.jpg", "a b/1", "a-b", "über.png", "new\nline", "z/10", "z/9", "z/1", "z/2", "z/3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (folder / os.fsdecode(b"no\xfftext")).write_bytes(b"1")
    (folder / "link").symlink_to("a.jpg")
    (folder / "linked").symlink_to("a")
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
def test_names_are_in_order_however_few_are_held(folder: Path, tmp_path: Path, at_once: int) -> None:
    count = pack(folder, tmp_path / "some.tar", names_at_once=at_once)
    every = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    with tarfile.open(tmp_path / "some.tar") as tar:
        members = tar.getmembers()
        assert [info.name for info in members] == [path.relative_to(folder).as_posix() for path in every]
        assert all((info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644) for info in members)
        for info, path in zip(members, every, strict=True):
            file = tar.extractfile(info)
            assert file is not None
            assert file.read() == path.read_bytes()
    assert count == len(every) == len(NAMES) + 1
    assert size_of(folder) == sum(path.stat().st_size for path in every)
    assert size_of(folder / "a.jpg") == 5
    assert [path.name for path in tmp_path.iterdir() if path != folder] == ["some.tar"]


def test_a_file_with_two_names_is_two_files(folder: Path) -> None:
    os.link(folder / "a.jpg", folder / "b.jpg")
    with archive_of(folder) as archive, tarfile.open(archive) as tar:
        assert all(info.isreg() for info in tar.getmembers())


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="holds no files"), archive_of(tmp_path):
        pass


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    held = []
    for count in (10, 600, 2600):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:05}.jpg").touch()
        tracemalloc.start()
        pack(folder, tmp_path / "some.tar", names_at_once=500)
        size_of(folder)
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert held[2] - held[1] < 50 * 2000
