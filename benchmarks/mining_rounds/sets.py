"""The sets that pictures are chosen from: made scenes with rare classes, and BCCD."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from lodeworks_builtin.made_pictures.shapes import CLASSES
from lodeworks_formats.annotations.ark import render_ark
from lodeworks_formats.annotations.voc import parse_voc
from lodeworks_formats.boxes import Box
from lodeworks_formats.manifest import sha256_hex
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import read_pictures, write_pictures
from mining_rounds.plans import Plan
from mining_rounds.scenes import draw_thing_scene

PARTS = ("pool", "val", "test")
CLASS_NAMES = {"made": CLASSES, "bccd": ("RBC", "WBC", "Platelets")}
EVEN = (1.0, 1.0, 1.0, 1.0)
TEST_EMPTY = 0.2
"""Of the made test pictures, which have each class equally often."""

Drawn = tuple[bytes, tuple[Box, ...], str, int, int]
"""A picture's bytes, boxes, extension, width and height."""


@dataclass(frozen=True)
class PictureSet:
    """One repetition of a set on disk: assets, notes (boxes as the detector reads them) and a view for each part."""

    folder: Path
    class_names: tuple[str, ...]

    @cached_property
    def pool(self) -> tuple[Picture, ...]:
        """The pictures to choose from, with the boxes that their annotation would give."""
        return tuple(read_pictures(self.folder / "pool"))

    @cached_property
    def val(self) -> tuple[Picture, ...]:
        """The pictures that each training validates on."""
        return tuple(read_pictures(self.folder / "val"))

    @cached_property
    def test(self) -> tuple[Picture, ...]:
        """The pictures that mAP is measured on; no training and no mining sees them."""
        return tuple(read_pictures(self.folder / "test"))

    def asset(self, picture: Picture) -> Path:
        """Returns where a picture lies."""
        return self.folder / "assets" / asset_path(picture.upright_name)

    def line(self, picture: Picture) -> tuple[str, str]:
        """Returns the line of an index: picture and note."""
        return str(self.asset(picture)), str(self.folder / "notes" / f"{picture.digest}.txt")

    def first(self, plan: Plan, *, seed: int) -> list[str]:
        """Returns the first labelled pictures: drawn, but some hold each class."""
        order = np.random.default_rng([seed, 7]).permutation(len(self.pool))
        drawn = [self.pool[place] for place in order]
        chosen: list[Picture] = []
        for name in self.class_names:
            chosen += [one for one in drawn if one not in chosen and _holds(one, name)][: plan.of_each]
        chosen += [one for one in drawn if one not in chosen][: plan.first - len(chosen)]
        return sorted(picture.digest for picture in chosen)

    def shares(self) -> dict[str, float]:
        """Returns in which share of the pool's pictures each class is, and how many are empty."""
        found = {name: sum(_holds(one, name) for one in self.pool) for name in self.class_names}
        found["(empty)"] = sum(not one.boxes for one in self.pool)
        return {name: round(count / len(self.pool), 4) for name, count in found.items()}


def open_set(plan: Plan, *, seed: int, folder: Path, bccd: Path | None) -> PictureSet:
    """Returns one repetition of a set, made first where it is not there yet."""
    place = folder / "sets" / f"{plan.name}-{plan.key}-{seed}"
    names = CLASS_NAMES[plan.name]
    if not (place / "test").exists():
        for part, pictures in _parts(plan, seed=seed, bccd=bccd).items():
            kept = [_keep(one, place, class_names=names) for one in pictures]
            write_pictures(place / part, kept, kind="view", class_names=names)
    return PictureSet(place, names)


def _parts(plan: Plan, *, seed: int, bccd: Path | None) -> dict[str, list[Drawn]]:
    """Returns the pictures of each part, `test` last."""
    if plan.name == "made":
        return {part: list(_made(plan, part, seed=seed)) for part in PARTS}
    assert bccd is not None
    trainval = list(_bccd(bccd / "bccd-trainval.zip"))
    order = np.random.default_rng([seed, 3]).permutation(len(trainval))
    chosen = [trainval[place] for place in order]
    return {
        "pool": chosen[plan.val :][: plan.pool],
        "val": chosen[: plan.val],
        "test": list(_bccd(bccd / "bccd-test.zip")),
    }


def _made(plan: Plan, part: str, *, seed: int) -> Iterator[Drawn]:
    """Draws a part. The test has each class equally often, so that the AP of a rare one stands on many boxes."""
    shares, empty = (EVEN, TEST_EMPTY) if part == "test" else (plan.shares, plan.empty)
    for number in range(getattr(plan, part)):
        rng = np.random.default_rng([seed, PARTS.index(part), number])
        image, boxes = draw_thing_scene(rng, side=plan.side, shares=None if rng.random() < empty else shares)
        done, data = cv2.imencode(".png", image)
        assert done
        yield data.tobytes(), boxes, "png", plan.side, plan.side


def _bccd(archive: Path) -> Iterator[Drawn]:
    with zipfile.ZipFile(archive) as source:
        for name in sorted(source.namelist()):
            folder, _, leaf = name.rpartition("/")
            if leaf.endswith(".jpg"):
                data = source.read(name)
                note = parse_voc(source.read(f"{folder.removesuffix('images')}gt/{leaf[:-4]}.xml"))
                image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
                assert image is not None
                boxes = tuple(box for box in note.boxes if box.w > 0 and box.h > 0)
                yield data, boxes, "jpg", image.shape[1], image.shape[0]


def _keep(drawn: Drawn, place: Path, *, class_names: Sequence[str]) -> Picture:
    data, boxes, extension, width, height = drawn
    picture = Picture(sha256_hex(data), extension, width, height, size_bytes=len(data), boxes=boxes)
    asset = place / "assets" / asset_path(picture.upright_name)
    note = place / "notes" / f"{picture.digest}.txt"
    for path in (asset, note):
        path.parent.mkdir(parents=True, exist_ok=True)
    asset.write_bytes(data)
    note.write_text(render_ark(boxes, class_names=class_names, width=width, height=height))
    return picture


def _holds(picture: Picture, class_name: str) -> bool:
    return any(box.class_name == class_name for box in picture.boxes or ())


def unlabelled(pictures: PictureSet, labelled: Sequence[str]) -> list[Picture]:
    """Returns the rest of the pool as a mining gets it: without boxes."""
    known = set(labelled)
    return [replace(one, boxes=None) for one in pictures.pool if one.digest not in known]
