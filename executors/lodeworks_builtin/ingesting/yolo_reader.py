"""YOLO: one text file of shares per picture, and a file that names the classes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from lodeworks_formats.annotations.yolo import YoloDataset, parse_yolo_dataset, parse_yolo_labels, parse_yolo_names
from lodeworks_formats.errors import FormatError
from lodeworks_formats.picture_header import PictureHeader

from lodeworks_builtin.ingesting.labels import Labels, labels_in_frame, without_scores
from lodeworks_builtin.ingesting.layout import SPLIT_FOLDERS, layout_of, split_of_folders
from lodeworks_builtin.ingesting.listing import Listing
from lodeworks_builtin.ingesting.meta import lines_of
from lodeworks_builtin.ingesting.placed import Candidate
from lodeworks_builtin.ingesting.recognition import NAMES_FILES, YOLO_FILES, leaf
from lodeworks_builtin.ingesting.report import ANNOTATIONS, PICTURES, IngestReport
from lodeworks_builtin.ingesting.source import Entry, Source

UNSPLIT = "unsplit"
"""The key of data.yaml under which our exports name the folder of pictures that belong to no part."""

_FOLDERS = {"images": PICTURES, "labels": ANNOTATIONS}
_PEEKED = 1000


class YoloReader:
    """Reads text files named like the pictures; shares are of the upright frame."""

    format_name = "yolo"
    shared_name = ""

    def __init__(
        self, source: Source, listing: Listing, report: IngestReport, *, class_names: Sequence[str] = ()
    ) -> None:
        described = [entry for entry in listing if leaf(entry) in YOLO_FILES]
        naming = [entry for entry in listing if leaf(entry) in NAMES_FILES or entry.name.endswith(".names")]
        if len(described) > 1:
            listed = ", ".join(entry.name for entry in described)
            raise FormatError("BAD_YOLO", f"YOLO wants one data.yaml, and there are {len(described)}: {listed}")
        self._source = source
        self._listing = listing
        aside = {entry.name for entry in (*described, *naming)}
        dataset = self._dataset(described, naming, class_names=class_names)
        self._class_names = dataset.class_names
        self._folders, listed_in = self._parts(dataset)
        listing.index.execute("CREATE TABLE listed (leaf TEXT, number INTEGER PRIMARY KEY, path TEXT, split TEXT)")
        for split, entry in listed_in:
            aside.add(entry.name)
            self._read_list(split, entry)
        self._has_lists = bool(listed_in)
        listing.index.execute("CREATE INDEX listed_leaf ON listed (leaf)")
        for _ in aside:
            report.other()
        rest = (entry for entry in listing if entry.name not in aside)
        self.layout = layout_of(rest, listing.index, folders=_FOLDERS, suffix=".txt")

    def truth(self, candidate: Candidate, header: PictureHeader) -> Labels | None:
        """Returns the boxes of a picture."""
        if candidate.truth is None:
            return None
        width, height = header.upright_size
        text = self._source.read(candidate.truth).decode("utf-8-sig", "replace")
        boxes, problems = parse_yolo_labels(text, class_names=self._class_names, width=width, height=height)
        labels = labels_in_frame(without_scores(boxes), header, written=(0, 0))
        return Labels(labels.boxes, problems + labels.problems)

    def report_missing(self, report: IngestReport, candidates: Iterable[Candidate]) -> None:
        """Reports nothing: an annotation file without a picture is a stray of the layout."""
        del report, candidates

    def split(self, candidate: Candidate) -> str | None:
        """Returns the part that data.yaml puts a picture in; without its word, a folder on the way."""
        name = candidate.picture.name
        for path, split in self._listed(name.rpartition("/")[2]):
            if f"/{name}".endswith(f"/{path}") or f"/{path}".endswith(f"/{name}"):
                return split
        return self._folder_split(name)[0]

    def name(self, candidate: Candidate) -> str:
        """Returns the path below the folder of the part."""
        below = self._folder_split(candidate.picture.name)[1]
        return below or candidate.name

    def _listed(self, leaf_name: str) -> Iterator[tuple[str, str]]:
        """Yields the paths that lists of pictures have for a base name, with their parts."""
        if not self._has_lists:
            return iter(())
        asked = "SELECT path, split FROM listed WHERE leaf = ? ORDER BY number"
        return iter(self._listing.index.execute(asked, (leaf_name,)))

    def _dataset(self, described: list[Entry], naming: list[Entry], *, class_names: Sequence[str]) -> YoloDataset:
        if described:
            text = self._source.read(described[0]).decode("utf-8-sig", "replace")
            try:
                return parse_yolo_dataset(text, file=described[0].name, class_names=class_names)
            except FormatError as error:
                if error.reason != "YOLO_WITHOUT_NAMES" or naming:
                    raise
                raise self._question() from error
        if class_names:
            return YoloDataset(tuple(class_names))
        found = {self._source.read(entry).decode("utf-8-sig", "replace").strip() for entry in naming}
        if not found:
            raise self._question()
        if len(found) > 1:
            listed = ", ".join(entry.name for entry in naming)
            raise FormatError("BAD_YOLO", f"these name the classes differently: {listed}; keep one")
        return YoloDataset(parse_yolo_names(found.pop(), file=naming[0].name))

    def _question(self) -> FormatError:
        """Returns the question for the names, with what the labels say about how many there are."""
        highest, place = -1, ""
        texts = (entry for entry in self._listing if entry.name.lower().endswith(".txt"))
        for entry in islice(texts, _PEEKED):
            for number, line in enumerate(self._source.read(entry).decode("utf-8", "replace").splitlines(), 1):
                first = line.split()[0] if line.strip() else ""
                if first.isdecimal() and len(first) <= 6 and int(first) > highest:  # noqa: PLR2004 — no huge numbers
                    highest, place = int(first), f"{entry.name}:{number}"
        seen = f"the labels use the classes 0 to {highest} ({place})" if place else "the labels number their classes"
        message = f"{seen} and nothing names them; give the names in that order with --names A,B,… or put them into"
        return FormatError("YOLO_WITHOUT_NAMES", f"{message} data.yaml, such as `names: [A, B]`")

    def _parts(self, dataset: YoloDataset) -> tuple[list[tuple[str | None, str]], list[tuple[str, Entry]]]:
        """Returns folder → part, the longest path first, and lists of pictures by part."""
        folders: list[tuple[str | None, str]] = []
        lists = []
        for split, paths in dataset.splits.items():
            for path in map(_plain, paths):
                if path.endswith(".txt"):
                    lists += [(split, entry) for entry in self._listing if f"/{entry.name}".endswith(f"/{path}")]
                elif path:
                    folders.append((None if split == UNSPLIT else split, path))
        return sorted(folders, key=lambda item: (item[0] is not None, -len(item[1]))), lists

    def _read_list(self, split: str, entry: Entry) -> None:
        lines = (line.strip() for line in lines_of(self._source.read(entry)))
        paths = (_plain(line) for line in lines if line)
        rows = ((path.rpartition("/")[2], path, split) for path in paths)
        self._listing.index.fill("INSERT INTO listed (leaf, path, split) VALUES (?, ?, ?)", rows)

    def _folder_split(self, name: str) -> tuple[str | None, str]:
        """Returns the part of a picture's folder, and its path below that."""
        for split, path in self._folders:
            start = f"/{name}".find(f"/{path}/")
            if start >= 0:
                return split, name[start + len(path) + 1 :]
        split = split_of_folders(name)
        if split is None:
            return None, ""
        parts = name.split("/")
        place = max(index for index, part in enumerate(parts[:-1]) if part.lower() in SPLIT_FOLDERS)
        rest = parts[place + 1 :]
        return split, "/".join(rest[1:] if rest[0].lower() == "images" and len(rest) > 1 else rest)


def _plain(path: str) -> str:
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in ("", ".", ".."))
