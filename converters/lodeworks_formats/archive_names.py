"""Names inside archives, hostile until proven otherwise.

safe_name(name) -> the same name normalised, or FormatError UNSAFE_NAME
"""

import re

from lodeworks_formats.errors import FormatError

_MAX_NAME = 1024
_NOT_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")


def safe_name(name: str) -> str:
    """Returns a relative POSIX path without dots; raises FormatError UNSAFE_NAME if it could leave its folder."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if not parts or len(name) > _MAX_NAME or _NOT_TEXT.search(name):
        shown = name[:80].encode("utf-8", "replace").decode()
        raise FormatError("UNSAFE_NAME", "the name is empty, too long or holds control characters", shown)
    if plain.startswith("/") or _DRIVE.match(plain) or ".." in parts:
        raise FormatError("UNSAFE_NAME", "the name leads out of its folder; pack it again with plain names", name[:80])
    return "/".join(parts)
