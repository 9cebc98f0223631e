"""Zips in the manual's layout whose predictions are their labels, with faults that are known."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MISSED_EACH = 5
"""Of the labels of a picture, each fifth one is missed; the others are found with scores from 0.5 to 0.8."""


def with_predictions(source: Path | str, target: Path, *, class_names: Sequence[str], model: str) -> None:
    """Adds pred/ and its meta.yaml to a zip: the labels, each with a confidence, but every fifth."""
    folder = ""
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w") as out:
        for name in given.namelist():
            data = given.read(name)
            out.writestr(name, data)
            if not re.search(r"(^|/)gt/[^/]+\.xml$", name):
                continue
            tree = ET.fromstring(data)
            for number, entry in enumerate(tree.findall("object")):
                if number % MISSED_EACH == MISSED_EACH - 1:
                    tree.remove(entry)
                    continue
                ET.SubElement(entry, "confidence").text = f"{0.5 + number % MISSED_EACH / 10:.2f}"
            out.writestr(name.replace("gt/", "pred/", 1), ET.tostring(tree))
            folder = name.partition("gt/")[0]
        named = ", ".join(class_names)
        out.writestr(
            f"{folder}pred/meta.yaml",
            f"model: {{name: {model}}}\nexecutor_config: {{}}\neval_class_names: [{named}]\n",
        )
