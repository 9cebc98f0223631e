"""Whatever a source holds: every file and every box of it is in the report exactly once."""

import shutil

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_world import CELL, picture, taken, voc, with_exif, zipped
from lodeworks_builtin.ingesting.report import MAX_PROBLEM_BYTES, MAX_PROBLEMS, IngestReport

PICTURES = {
    "sound": picture(0),
    "another": picture(1),
    "turned": with_exif(picture(2), 6),
    "png": picture(3, "png"),
    "webp": picture(4, "webp"),
    "cut": picture(5)[:-100],
    "empty": b"",
    "text": b"text",
}
LABELS = {
    "one": voc(CELL),
    "none": voc(),
    "flat": voc(CELL, ("dot", 5, 5, 5, 9)),
    "outside": voc(("dot", 500, 500, 600, 600), CELL),
    "clipped": voc(("dot", -9, 2, 20, 20)),
    "scored": voc(CELL, confidence=0.5),
    "left out": voc(("junk", 1, 1, 9, 9), CELL),
    "broken": b"<annotation><object>",
    "hostile": b'<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>',
    "other": b"<html/>",
}
BOXES = {"one": 1, "none": 0, "flat": 2, "outside": 2, "clipped": 1, "scored": 1, "left out": 2}
stems = st.sampled_from(["a", "b", "c", "deep/a", "train/a", "ü"])
images = st.dictionaries(
    st.tuples(stems, st.sampled_from([".jpg", ".png", ".JPEG", ".txt"])), st.sampled_from(sorted(PICTURES)), max_size=8
)
labels = st.dictionaries(stems, st.sampled_from(sorted(LABELS)), max_size=6)
others = st.sets(
    st.sampled_from(["README", "images/.DS_Store", "__MACOSX/x", "pred/meta.yaml", "gt/read.me"]), max_size=5
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images, labels, labels, others)
def test_every_file_and_every_box_is_counted_once(tmp_path_factory, drawn, truths, predictions, strays):
    folder = tmp_path_factory.mktemp("counts")
    files = {f"images/{stem}{suffix}": PICTURES[kind] for (stem, suffix), kind in drawn.items()}
    files |= {f"gt/{stem}.xml": LABELS[kind] for stem, kind in truths.items()}
    files |= {f"pred/{stem}.xml": LABELS[kind] for stem, kind in predictions.items()}
    files |= dict.fromkeys(strays, b"model: {name: m}\n")
    files["images/always.png"] = picture(9, "png")
    told, rows = taken(zipped(folder / "s.zip", files), folder, class_map=(("junk", ""),), format="voc")
    shutil.rmtree(folder)
    assert told["files"]["total"] == len(files)
    assert told["pictures"]["total"] + told["annotations"]["total"] + told["predictions"]["total"] + told["files"][
        "other"
    ] == len(files)
    names = [name for row in rows.values() for name in row.names]
    assert len(names) == told["pictures"]["accepted"] + told["pictures"]["merged"]
    read = told["annotations"]["accepted"] + told["annotations"]["merged"]
    assert told["boxes"]["total"] <= sum(sorted((BOXES.get(kind, 0) for kind in truths.values()), reverse=True)[:read])
    rejected = {problem["file"] for problem in told["problems"] if problem["outcome"] == "rejected"}
    assert told["files"]["rejected"] <= len(rejected)


def test_a_report_of_very_many_problems_fits_into_a_message() -> None:
    report = IngestReport("voc")
    for number in range(20_000):
        report.reject("pictures", f"{number:0900}", reason="TRUNCATED", message="血" * 100)
    told = report.to_json()
    assert len(report.to_bytes()) < MAX_PROBLEM_BYTES + 10_000
    assert 1000 < len(told["problems"]) < MAX_PROBLEMS
    assert told["problems"][-1]["file"] == f"{len(told['problems']) - 1:0900}"
    assert len(told["problems"]) + told["problems_left_out"] == 20_000 == told["reasons"]["TRUNCATED"]
