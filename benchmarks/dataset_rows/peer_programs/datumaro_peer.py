"""Datumaro on a folder as VOCdevkit has it: python datumaro_peer.py FOLDER OUT. It hashes and stores nothing."""

import json
import sys
import time
from pathlib import Path

from datumaro import Dataset


def main(source: Path, out: Path) -> dict[str, tuple[float, str]]:
    """Returns name → (value, unit)."""
    start, spent = time.perf_counter(), time.process_time()
    dataset = Dataset.import_from(str(source), "voc")
    pictures = boxes = 0
    for item in dataset:
        pictures += 1
        boxes += len(item.annotations)
        assert item.media is not None
    assert pictures, "it saw nothing"
    assert boxes, "it saw no box"
    read_s, read_cpu_s = time.perf_counter() - start, time.process_time() - spent
    start, spent = time.perf_counter(), time.process_time()
    dataset.export(str(out), "voc", save_media=True)
    write_s, write_cpu_s = time.perf_counter() - start, time.process_time() - spent
    return {
        "VOC import without hash or store": (pictures / read_s, "/s"),
        "VOC import, per second of one core": (pictures / read_cpu_s, "/s"),
        "VOC export": (pictures / write_s, "/s"),
        "VOC export, per second of one core": (pictures / write_cpu_s, "/s"),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
