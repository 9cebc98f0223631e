"""What an export looks like in each format."""

import pickle
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from lodeworks_formats.annotations.coco import USER, write_coco
from lodeworks_formats.annotations.voc import render_voc
from lodeworks_formats.annotations.yolo import YoloDataset, render_yolo_dataset, render_yolo_labels
from lodeworks_formats.errors import FormatError
from lodeworks_formats.pictures import Picture
from lodeworks_formats.protocol import render_config
from lodeworks_formats.task_inputs import ExportOptions

from lodeworks_builtin.exporting.archive import ExportArchive
from lodeworks_builtin.exporting.names import ExportNames
from lodeworks_builtin.ingesting.meta import NO_SPLIT as _NO_SPLIT
from lodeworks_builtin.ingesting.yolo_reader import UNSPLIT

_FOLDER = re.compile(r"[^\W.][\w .+-]{0,99}\Z")


@dataclass(frozen=True, slots=True)
class Export:
    """Everything a layout needs.

    Attributes:
        archive: Where to.
        options: What goes along.
        class_names: The view's classes in order.
        asset: Where the bytes of a picture lie.
    """

    archive: ExportArchive
    options: ExportOptions
    class_names: Sequence[str]
    asset: Callable[[Picture], Path]

    def add_picture(self, picture: Picture, name: str) -> None:
        """Adds a picture's bytes, if pictures go along."""
        if not self.options.pictures:
            return
        path = self.asset(picture)
        if not path.is_file():
            raise FormatError("MISSING_PICTURE", "the bytes of this picture were not handed to the export", name)
        self.archive.picture(name, path)


def _folder(picture: Picture, *, otherwise: str) -> str:
    """Returns the name of a picture's part where it can be a folder's; refuses it elsewhere."""
    split = picture.split or otherwise
    if not _FOLDER.match(split):
        raise FormatError("NOT_REPRESENTABLE", f"the part {split!r} cannot be the name of a folder or list; rename it")
    return split


@dataclass(frozen=True, slots=True)
class VocFolders:
    """Where a VOC layout keeps pictures and ground truth."""

    pictures: str
    truth: str


MANUAL = VocFolders("images", "gt")
DEVKIT = VocFolders("JPEGImages", "Annotations")


def write_voc_layout(export: Export, pictures: Iterable[Picture], *, folders: VocFolders = MANUAL) -> None:
    """Writes pictures, ground truth, pred/ with meta.yaml, and ImageSets/Main with the parts."""
    names, splits = ExportNames(), dict[str, list[str]]()
    for picture in pictures:
        name = names.name(picture)
        stem = name.with_suffix("")
        export.add_picture(picture, f"{folders.pictures}/{name}")
        if picture.boxes is not None:
            text = render_voc(picture, picture.boxes, filename=name.name, folder=folders.pictures)
            export.archive.text(f"{folders.truth}/{stem}.xml", text)
        if export.options.predictions and picture.predictions is not None:
            export.archive.text(f"pred/{stem}.xml", render_voc(picture, picture.predictions, filename=name.name))
        splits.setdefault(_folder(picture, otherwise=_NO_SPLIT), []).append(str(stem))
    if len(splits) > 1 or _NO_SPLIT not in splits or folders is DEVKIT:
        # Other tools find only the pictures that a list names, ours take this name for none.
        for split, stems in sorted(splits.items()):
            export.archive.text(f"ImageSets/Main/{split}.txt", "".join(f"{stem}\n" for stem in stems).encode())
    if folders is DEVKIT:
        # Other tools want the classes declared here; their form of it parts its columns with colons.
        lines = [f"{name}:::\n" for name in export.class_names if ":" not in name and name.isprintable()]
        export.archive.text("labelmap.txt", "".join(["# label:color_rgb:parts:actions\n", *lines]).encode())
    if export.options.predictions:
        meta = {"model": {"name": export.options.model_name}, "eval_class_names": list(export.class_names)}
        export.archive.text("pred/meta.yaml", render_config(meta).encode())


def write_coco_layout(export: Export, pictures: Iterable[Picture]) -> None:
    """Writes images/<part>/ and annotations/instances_<part>.json, which lists the annotated pictures of a part."""
    names, named = ExportNames(), dict[str, PurePosixPath]()
    with ExitStack() as open_files:
        parts: dict[str, _Part] = {}
        for picture in pictures:
            split = _folder(picture, otherwise=_NO_SPLIT)
            named[picture.digest] = names.name(picture)
            export.add_picture(picture, f"images/{split}/{named[picture.digest]}")
            if split not in parts:
                parts[split] = _Part(open_files)
            if picture.boxes is not None:
                parts[split].add(picture)
        for split, part in sorted(parts.items()):
            # A zip takes one file at a time, so the JSON waits on the disk until the pictures are through.
            with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
                write_coco(
                    spool,
                    part.pictures(),
                    class_names=export.class_names,
                    form=USER,
                    names=lambda picture: str(named[picture.digest]),
                    split="" if split == _NO_SPLIT else split,
                )
                spool.seek(0)
                with export.archive.stream(f"annotations/instances_{split}.json") as sink:
                    while chunk := spool.read(1 << 20):
                        sink.write(chunk.encode())


class _Part:
    """The annotated pictures of one part, kept on the disk until all pictures are through."""

    def __init__(self, open_files: ExitStack) -> None:
        self._spool = open_files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 — the stack closes it

    def add(self, picture: Picture) -> None:
        """Keeps a picture."""
        pickle.dump(picture, self._spool)

    def pictures(self) -> Iterator[Picture]:
        """Yields what was kept."""
        end = self._spool.tell()
        self._spool.seek(0)
        while self._spool.tell() < end:
            yield pickle.load(self._spool)  # noqa: S301 — this process wrote it into a file without a name


def write_yolo_layout(export: Export, pictures: Iterable[Picture]) -> None:
    """Writes images/<part>/, labels/<part>/ and data.yaml; what belongs to no part counts as train for others."""
    names, used = ExportNames(), set[str]()
    for picture in pictures:
        split = _folder(picture, otherwise=UNSPLIT)
        used.add(split)
        name = names.name(picture)
        export.add_picture(picture, f"images/{split}/{name}")
        if picture.boxes is not None:
            text = render_yolo_labels(
                picture.boxes, class_names=export.class_names, width=picture.width, height=picture.height
            )
            export.archive.text(f"labels/{split}/{name.with_suffix('')}.txt", text.encode())
    splits = {split: (f"images/{split}",) for split in sorted(used)}
    if UNSPLIT in splits:
        splits["train"] = (*splits.get("train", ()), *splits[UNSPLIT])
    export.archive.text("data.yaml", render_yolo_dataset(YoloDataset(tuple(export.class_names), splits)).encode())


LAYOUTS: dict[str, Callable[[Export, Iterable[Picture]], None]] = {
    "voc": write_voc_layout,
    "vocdevkit": partial(write_voc_layout, folders=DEVKIT),
    "coco": write_coco_layout,
    "yolo": write_yolo_layout,
}
