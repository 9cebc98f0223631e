"""Pictures coming in and going out: the import as a function, signals, the export, and an import through `lode`."""

import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataset_rows.figures import Bench
from imports import measure, write_source
from lodeworks_builtin.export import export
from lodeworks_builtin.ingest import ingest
from lodeworks_builtin.signals import measured
from lodeworks_formats.blob_pack import read_packed
from lodeworks_formats.protocol import asset_path
from lodeworks_formats.segments import read_pictures, write_pictures
from lodeworks_formats.task_inputs import ExportOptions, IngestOptions

_ROUNDS = 3


@contextmanager
def _spent(best: list[float]) -> Iterator[None]:
    """Keeps the least processor time (s) of several blocks: the load of others is hardly in it."""
    before = time.process_time()
    yield
    best[0] = min(best[0], time.process_time() - before)


def measure_functions(bench: Bench, *, pictures: int) -> Path:
    """Measures without controller and worker, in pictures per second of one core; returns the files for a peer."""
    folder = bench.folder / "arrivals"
    folder.mkdir()
    source = folder / "source.zip"
    write_source(source, pictures=pictures)
    out = folder / "out"
    best = [float("inf")]
    for _ in range(_ROUNDS):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        with _spent(best):
            ingest(
                source,
                exchange=out / "exchange",
                blobs=out / "blobs",
                options=IngestOptions(),
                progress=lambda *_: None,
            )
    name = "import as a function: hash, header, VOC, exchange form"
    bench.note(name, pictures / best[0], "/s core", least=3_000, always=True)
    rows = list(read_pictures(out / "exchange"))
    assert len(rows) == pictures, len(rows)
    assets, names = folder / "assets", {row.digest: row.hash_name for row in rows}
    for digest, data in read_packed(out / "blobs").items():
        place = assets / asset_path(names[digest])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    best = [float("inf")]
    for _ in range(_ROUNDS):
        with _spent(best):
            assert all(signals is not None for _, signals in measured(rows, assets=assets))
    bench.note("signals from one small decode", pictures / best[0], "/s core", least=500, always=True)
    view, archive = folder / "view", folder / "out.zip"
    write_pictures(view, rows, kind="view", class_names=("cell",), class_map_revision=1)
    best = [float("inf")]
    for _ in range(_ROUNDS):
        options = ExportOptions(format="vocdevkit")
        with _spent(best):
            export(view, assets=assets, archive=archive, options=options, progress=lambda _: None)
    bench.note("VOC export with pictures", pictures / best[0], "/s core")
    devkit = folder / "devkit"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(devkit)
    return devkit


def measure_whole(bench: Bench, *, pictures: int, kind: str) -> None:
    """Imports through `lode` with both hops: upload, run, commit."""
    folder = bench.folder / f"whole-{kind}"
    folder.mkdir()
    try:
        found = measure(folder, pictures=pictures, kind=kind)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    name = f"import through lode, {kind} of {pictures:,}"
    load = f"load {found.load:.1f}"
    bench.note(name, found.pictures_per_s, "/s", least=400, note=load)
    bench.note(f"{name}: processor of all programs", found.processor_ms_per_picture, "ms each", most=5)
    for program, peak in sorted(found.peak_mib.items()):
        bench.note(f"{name}: peak of {program}", peak, "MiB", most=500)
