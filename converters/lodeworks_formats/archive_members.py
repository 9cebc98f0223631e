"""Files out of tars, written by our own hand: the filters of `tarfile` are missing in the first releases of 3.11.

extract_member(archive, member, path)     writes the bytes of a plain file to a path that the caller has checked
"""

import shutil
import tarfile
from pathlib import Path


def extract_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Writes a plain member to a checked path and makes its folders; mode, owner and times are not taken over."""
    source = archive.extractfile(member)
    assert source is not None, "only plain files hold bytes"
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
