import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import yaml
from lodeworks_executor import Task
from lodeworks_formats.boxes import Box
from lodeworks_worker.cache import Cache
from lodeworks_worker.errors import InputError
from lodeworks_worker.grant import Grant, Resources, RunSpec
from lodeworks_worker.staging.plan import Roots
from lodeworks_worker.staging.stage import Stager
from worker_world import DictionaryTransfer, made_picture, made_view

CLASSES = ("RBC", "WBC")
BOXES = (
    Box("RBC", 10.0, 8.0, 20.0, 16.0),
    Box("wbc", 0.4, 0.6, 10.2, 10.2),
    Box("Platelets", 1.0, 1.0, 5.0, 5.0),
)


@pytest.fixture
def transfer():
    return DictionaryTransfer()


@pytest.fixture
async def cache(tmp_path):
    cache = Cache(tmp_path / "cache", limit_bytes=1 << 30)
    await cache.open()
    return cache


def _grant(*inputs, operations=("train",), export_format="ark:raw", executor="image:x@sha256:1", **run):
    spec = RunSpec(
        executor=executor,
        operations=operations,
        class_names=CLASSES,
        inputs=tuple(inputs),
        export_format=export_format,
        **run,
    )
    return Grant(task_id="t1", lease_epoch=3, run=spec)


@pytest.fixture
def training_inputs(transfer, tmp_path):
    train = [made_picture(transfer, seed, boxes=BOXES if seed else ()) for seed in range(3)]
    val = [made_picture(transfer, 10, boxes=BOXES)]
    views = (
        made_view(transfer, "train", train, folder=tmp_path, class_names=CLASSES),
        made_view(transfer, "val", val, folder=tmp_path, class_names=CLASSES),
    )
    return views, train, val


async def _stage(cache, transfer, grant, tmp_path, *, mapped=False, read_only_in=True):
    folder = tmp_path / "run"
    roots = Roots.mapped(folder) if mapped else Roots(folder)
    await Stager(cache, transfer).stage(grant, roots=roots, read_only_in=read_only_in)
    return folder / "in"


async def test_ark_training_is_laid_out_bit_for_bit(cache, transfer, tmp_path, training_inputs):
    views, train, _ = training_inputs
    made = await _stage(cache, transfer, _grant(*views), tmp_path)
    lines = (made / "train-index.tsv").read_text().splitlines()
    first = train[0]
    assert lines[0] == (
        f"/in/assets/{first.digest[-2:]}/{first.digest}.jpg\t/in/annotations/{first.digest[-2:]}/{first.digest}.txt"
    )
    assert len(lines) == 3
    assert (made / "val-index.tsv").read_text().count("\n") == 1
    for line in lines:
        asset, note = (made / Path(part).relative_to("/in") for part in line.split("\t"))
        assert asset.read_bytes() == transfer.blobs[asset.stem]
        expected = "" if asset.stem == first.digest else "0, 10, 8, 29, 23, -1.0, 0.0\n1, 0, 1, 10, 10, -1.0, 0.0\n"
        assert note.read_text() == expected
    environment = yaml.safe_load((made / "env.yaml").read_text())
    assert environment["run_training"] is True
    assert environment["run_mining"] is False
    assert environment["input"]["candidate_index_file"] == ""
    assert environment["output"]["monitor_file"] == "/out/monitor.txt"
    assert not list(made.rglob("*.parquet"))
    assert (tmp_path / "run" / "out").stat().st_mode & 0o777 == 0o777


async def test_voc_names_only_chosen_classes(cache, transfer, tmp_path, training_inputs):
    views, train, _ = training_inputs
    made = await _stage(cache, transfer, _grant(*views, export_format="det-voc:raw"), tmp_path)
    name = train[1].digest
    text = (made / "annotations" / name[-2:] / f"{name}.xml").read_text()
    assert text.count("<object>") == 2
    assert "Platelets" not in text
    assert f"<filename>/in/assets/{name[-2:]}/{name}.jpg</filename>" in text


async def test_coco_is_one_file_with_positions_as_ids(cache, transfer, tmp_path, training_inputs):
    views, train, val = training_inputs
    made = await _stage(cache, transfer, _grant(*views, export_format="coco:raw"), tmp_path)
    told = json.loads((made / "annotations" / "coco-annotations.json").read_text())
    assert [one["id"] for one in told["categories"]] == [0, 1]
    names = [one["file_name"] for one in told["images"]]
    assert names == sorted(f"{one.digest}.jpg" for one in (*train, *val))
    notes = {line.split("\t")[1] for line in (made / "train-index.tsv").read_text().splitlines()}
    assert notes == {"/in/annotations/coco-annotations.json"}


async def test_the_executors_config_ends_with_the_reserved_keys(cache, transfer, tmp_path, training_inputs):
    views, _, _ = training_inputs
    model = transfer.input("model/stage_1/best.pt", b"weights")
    info = transfer.input("model/ymir-info.yaml", b"{}")
    checkpoint = io.BytesIO()
    with tarfile.open(fileobj=checkpoint, mode="w") as tar:
        entry = tarfile.TarInfo("DONE")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"{}"))
    grant = _grant(
        *views,
        model,
        info,
        transfer.input("checkpoint", checkpoint.getvalue()),
        settings_yaml="epochs: 20\nlr: 1e-3\n",
        resources=Resources(shm_bytes=2 << 30),
    )
    made = await _stage(cache, transfer, replace(grant, gpu_uuids=("GPU-a", "GPU-b")), tmp_path)
    config = yaml.safe_load((made / "config.yaml").read_text())
    assert config == {
        "epochs": 20,
        "lr": "1e-3",
        "task_id": "t1",
        "class_names": ["RBC", "WBC"],
        "gpu_id": "0,1",
        "gpu_count": 2,
        "object_type": 2,
        "export_format": "ark:raw",
        "shm_size": "2G",
        "pretrained_model_params": ["/in/models/stage_1/best.pt"],
        "resume": True,
    }
    assert (made / "models" / "stage_1" / "best.pt").read_bytes() == b"weights"
    assert (made / "lode" / "checkpoint" / "DONE").read_bytes() == b"{}"


async def test_a_reserved_setting_is_refused_with_the_list(cache, transfer, tmp_path, training_inputs):
    views, _, _ = training_inputs
    with pytest.raises(InputError, match="reserved are task_id, class_names"):
        await _stage(cache, transfer, _grant(*views, settings_yaml="gpu_id: '3'"), tmp_path)


async def test_a_program_sees_its_own_folders(cache, transfer, tmp_path):
    pictures = [made_picture(transfer, seed) for seed in range(2)]
    view = made_view(transfer, "candidate", pictures, folder=tmp_path, class_names=CLASSES)
    options = transfer.input("options", b'{"seed":1}')
    model = transfer.input("model/best.onnx", b"onnx")
    grant = _grant(view, options, model, operations=("mine",), executor="builtin:mine")
    made = await _stage(cache, transfer, grant, tmp_path, mapped=True, read_only_in=False)
    environment = yaml.safe_load((made / "env.yaml").read_text())
    assert environment["input"]["candidate_index_file"] == str(made / "candidate-index.tsv")
    assert environment["output"]["root_dir"] == str(made.parent / "out")
    lines = (made / "candidate-index.tsv").read_text().splitlines()
    assert [Path(line).stem for line in lines] == [one.digest for one in pictures]
    assert all(os.path.isfile(line) for line in lines)  # noqa: ASYNC240, PTH113
    assert (made / "lode" / "options").read_bytes() == b'{"seed":1}'
    assert (made / "lode" / "model" / "best.onnx").read_bytes() == b"onnx"
    assert (made / "lode" / "candidate").stat().st_size == view.size_bytes
    config = yaml.safe_load((made / "config.yaml").read_text())
    assert config["model_params_path"] == [f"{made}/models/best.onnx"]
    assert config["run_mining"] is True


@pytest.mark.parametrize("read_only_in", [False, True])
async def test_only_a_read_only_in_shares_the_caches_inode(cache, transfer, tmp_path, training_inputs, read_only_in):
    views, train, _ = training_inputs
    made = await _stage(cache, transfer, _grant(*views), tmp_path, read_only_in=read_only_in)
    name = train[0].digest
    placed, kept = made / "assets" / name[-2:] / f"{name}.jpg", cache.path(name)
    assert (placed.stat().st_ino == kept.stat().st_ino) is read_only_in
    if not read_only_in:
        placed.write_bytes(b"scribbled over")
        assert kept.read_bytes() == transfer.blobs[name]


async def test_the_longest_side_is_scaled_with_its_boxes(cache, transfer, tmp_path, training_inputs):
    views, train, _ = training_inputs
    made = await _stage(cache, transfer, _grant(*views, settings_yaml="longest_side: 32\nepochs: 2"), tmp_path)
    name = train[1].digest
    image = cv2.imread(str(made / "assets" / name[-2:] / f"{name}.jpg"))
    assert image.shape[:2] == (24, 32)
    note = (made / "annotations" / name[-2:] / f"{name}.txt").read_text()
    assert note.splitlines()[0] == "0, 5, 4, 14, 11, -1.0, 0.0"
    config = yaml.safe_load((made / "config.yaml").read_text())
    assert config["epochs"] == 2
    assert "longest_side" not in config


FORMATS = ("ark", "det-ark", "voc", "det-voc", "coco", "seg-coco", "none", "DET-Ark", "Seg-COCO")


@pytest.mark.parametrize("wanted", FORMATS)
async def test_every_format_scales_its_boxes_and_is_read_by_the_executors_library(cache, transfer, tmp_path, wanted):
    """The scaled pictures, their index and their annotations say the same to an executor, whatever the format."""
    boxes = (Box("wbc", 10.0, 8.0, 20.0, 16.0, shape="[[10.0,8.0,30.0,8.0,30.0,24.0]]"), BOXES[2])
    views = [
        made_view(transfer, role, [made_picture(transfer, seed, boxes=boxes)], folder=tmp_path, class_names=CLASSES)
        for seed, role in enumerate(("train", "val"))
    ]
    grant = _grant(*views, export_format=f"{wanted}:raw", settings_yaml="longest_side: 32")
    made = await _stage(cache, transfer, grant, tmp_path, mapped=True, read_only_in=False)
    task = Task.load(made / "env.yaml")
    (sample,) = task.train()
    assert sample.size_px == (32, 24)
    if wanted == "none":
        assert sample.annotation_path is None
        assert sample.boxes == ()
        return
    (box,) = sample.boxes
    assert (box.class_name.casefold(), box.x, box.y, box.w, box.h) == ("wbc", 5.0, 4.0, 10.0, 8.0)
    if "coco" in wanted.lower():
        assert json.loads(box.shape) == [[5.0, 4.0, 15.0, 4.0, 15.0, 12.0]]
    assert len(list(task.val())) == 1


async def test_only_a_training_scales_so_another_runs_setting_of_that_name_is_its_own(cache, transfer, tmp_path):
    view = made_view(transfer, "candidate", [made_picture(transfer, 1)], folder=tmp_path, class_names=CLASSES)
    grant = _grant(view, operations=("infer",), settings_yaml="longest_side: 32")
    made = await _stage(cache, transfer, grant, tmp_path)
    assert yaml.safe_load((made / "config.yaml").read_text())["longest_side"] == 32


async def test_a_turned_picture_without_a_derived_blob_is_made_upright(cache, transfer, tmp_path):
    picture = made_picture(transfer, 1, width=64, height=48, extension="webp")
    view = made_view(transfer, "candidate", [picture], folder=tmp_path, class_names=CLASSES)
    made = await _stage(cache, transfer, _grant(view, operations=("infer",)), tmp_path)
    asset = (made / "candidate-index.tsv").read_text().strip()
    assert asset == f"/in/assets/{picture.digest[-2:]}/{picture.digest}.png"
    assert cv2.imread(str(made / Path(asset).relative_to("/in"))).shape == (48, 64, 3)


async def test_staging_again_begins_anew_and_fetches_nothing_twice(cache, transfer, tmp_path, training_inputs):
    views, _, _ = training_inputs
    made = await _stage(cache, transfer, _grant(*views), tmp_path)
    (made / "garbage").write_text("left by a worker that was killed")
    before = list(transfer.fetched)
    made = await _stage(cache, transfer, _grant(*views), tmp_path)
    assert not (made / "garbage").exists()
    assert transfer.fetched == before


async def test_evaluation_compares_boxes_and_gets_no_picture(cache, transfer, tmp_path):
    view = made_view(transfer, "view", [made_picture(transfer, 1)], folder=tmp_path, class_names=CLASSES)
    grant = _grant(view, operations=("evaluate",), executor="builtin:evaluate")
    made = await _stage(cache, transfer, grant, tmp_path, mapped=True)
    assert not list((made / "assets").iterdir())
    assert (made / "lode" / "view").exists()


@pytest.mark.parametrize("role", ["../escape", "/etc/passwd", "lode/../../x"])
async def test_a_role_cannot_leave_the_folder(cache, transfer, tmp_path, role):
    with pytest.raises(InputError):
        await _stage(cache, transfer, _grant(transfer.input(role, b"x"), executor="builtin:x"), tmp_path)


async def test_a_view_that_is_no_view_is_refused(cache, transfer, tmp_path):
    with pytest.raises(InputError, match="no pictures"):
        await _stage(cache, transfer, _grant(transfer.input("train", b"no parquet")), tmp_path)
