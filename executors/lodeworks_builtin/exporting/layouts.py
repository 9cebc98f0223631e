"""What an export looks like in each format."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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


def write_voc_layout(export: Export, pictures: Iterable[Picture]) -> None:
    """Writes images/, gt/, pred/ with meta.yaml, and ImageSets/Main with the splits."""
    names, splits = ExportNames(), dict[str, list[str]]()
    for picture in pictures:
        name = names.name(picture)
        stem = name.with_suffix("")
        export.add_picture(picture, f"images/{name}")
        if picture.boxes is not None:
            export.archive.text(f"gt/{stem}.xml", render_voc(picture, picture.boxes, filename=name.name))
        if export.options.predictions and picture.predictions is not None:
            export.archive.text(f"pred/{stem}.xml", render_voc(picture, picture.predictions, filename=name.name))
        if picture.split:
            splits.setdefault(picture.split, []).append(str(stem))
    for split, stems in sorted(splits.items()):
        export.archive.text(f"ImageSets/Main/{split}.txt", "".join(f"{stem}\n" for stem in stems).encode())
    if export.options.predictions:
        meta = {"model": {"name": export.options.model_name}, "eval_class_names": list(export.class_names)}
        export.archive.text("pred/meta.yaml", render_config(meta).encode())


def write_coco_layout(export: Export, pictures: Iterable[Picture]) -> None:
    """Writes images/ and annotations/instances.json, which lists the annotated pictures."""
    names, named = ExportNames(), dict[str, PurePosixPath]()

    def told() -> Iterator[Picture]:
        for picture in pictures:
            named[picture.digest] = names.name(picture)
            export.add_picture(picture, f"images/{named[picture.digest]}")
            if picture.boxes is not None:
                yield picture

    # A zip takes one file at a time, so the JSON waits on the disk until the pictures are through.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        write_coco(
            spool,
            told(),
            class_names=export.class_names,
            form=USER,
            names=lambda picture: str(named[picture.digest]),
        )
        spool.seek(0)
        with export.archive.stream("annotations/instances.json") as sink:
            while chunk := spool.read(1 << 20):
                sink.write(chunk.encode())


def write_yolo_layout(export: Export, pictures: Iterable[Picture]) -> None:
    """Writes images/<split>/, labels/<split>/ and data.yaml; a picture without a split goes to train."""
    names, used = ExportNames(), set[str]()
    for picture in pictures:
        split = picture.split or "train"
        used.add(split)
        name = names.name(picture)
        export.add_picture(picture, f"images/{split}/{name}")
        if picture.boxes is not None:
            text = render_yolo_labels(
                picture.boxes, class_names=export.class_names, width=picture.width, height=picture.height
            )
            export.archive.text(f"labels/{split}/{name.with_suffix('')}.txt", text.encode())
    splits = {split: (f"images/{split}",) for split in sorted(used)}
    export.archive.text("data.yaml", render_yolo_dataset(YoloDataset(tuple(export.class_names), splits)).encode())


LAYOUTS: dict[str, Callable[[Export, Iterable[Picture]], None]] = {
    "voc": write_voc_layout,
    "coco": write_coco_layout,
    "yolo": write_yolo_layout,
}
