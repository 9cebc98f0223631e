import cv2
import numpy as np
import pytest
import torch
from lodeworks_detector.augment import Augmentation
from lodeworks_detector.batches import TrainingBatches, to_input
from lodeworks_detector.examples import Example, PictureCache, read_picture
from lodeworks_executor import BadDatasetError, ErrorCode

SIZE = (32, 32)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for number in range(5):
        image = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), image)
        boxes = np.array([[5, 5, 25, 25]] * number, dtype=np.float32).reshape(-1, 4)
        made.append(Example(path, boxes, np.zeros(number, dtype=np.int64)))
    return made


def _batches(examples, **changes):
    settings = {"size": SIZE, "batch_size": 2, "how": Augmentation(), "seed": 3, **changes}
    return TrainingBatches(examples, cache=PictureCache(size=SIZE, budget_bytes=10**7), **settings)


def _same(first, second):
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.boxes, b.boxes) for a, b in zip(first, second, strict=True)
    )


def test_the_same_seed_makes_the_same_batches(examples):
    one, two = list(_batches(examples).epoch(1)), list(_batches(examples).epoch(1))
    assert _same(one, two)
    assert not _same(one, list(_batches(examples, seed=4).epoch(1)))
    assert not _same(one, list(_batches(examples).epoch(2)))


def test_batches_are_padded_and_a_small_rest_is_left_out(examples):
    batches = list(_batches(examples, batch_size=4).epoch(0))
    assert len(batches) == len(_batches(examples, batch_size=4)) == 1
    assert batches[0].images.shape == (4, 3, *SIZE)
    assert batches[0].boxes.shape[:2] == batches[0].valid.shape
    assert len(_batches(examples)) == 3  # half a batch is kept


def test_fewer_pictures_than_a_batch_are_one_batch(examples):
    assert [len(batch.images) for batch in _batches(examples, batch_size=64).epoch(0)] == [5]


def test_leaving_an_epoch_early_ends_its_thread(examples):
    epoch = _batches(examples).epoch(0)
    next(epoch)
    epoch.close()


def test_the_input_is_rgb_from_0_to_1():
    blue = np.zeros((2, 2, 3), dtype=np.uint8)
    blue[..., 0] = 255
    found = to_input([blue])
    assert found.shape == (1, 3, 2, 2)
    assert found[0, :, 0, 0].tolist() == [0.0, 0.0, 1.0]


def test_the_cache_shrinks_large_pictures_and_keeps_to_its_budget(examples):
    cache = PictureCache(size=(16, 16), budget_bytes=10**6)
    image, scale = cache.get(examples[0].path)
    assert image.shape == (16, 24, 3)
    assert scale == pytest.approx(0.4)
    assert cache.get(examples[0].path)[0] is image
    small = PictureCache(size=(16, 16), budget_bytes=10)
    assert small.get(examples[0].path)[0] is not small.get(examples[0].path)[0]


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BadDatasetError, match=r"gone\.jpg") as caught:
        read_picture(tmp_path / "gone.jpg")
    assert caught.value.code == ErrorCode.DATASET
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(BadDatasetError, match=r"bad\.jpg") as caught:
        read_picture(tmp_path / "bad.jpg")
    assert caught.value.code == ErrorCode.PICTURE_FORMAT


def test_processes_share_a_batch_between_them(examples):
    whole = next(_batches(examples, batch_size=5).epoch(0))
    parts = [next(_batches(examples, batch_size=5, rank=(index, 2)).epoch(0)) for index in range(2)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images[[0, 2, 4, 1, 3]])


def test_mosaics_end_before_the_last_epochs_and_change_nothing_where_there_are_none(examples):
    how = Augmentation(mosaic=1.0)
    plain = [list(_batches(examples).epoch(number)) for number in range(2)]
    mixed = _batches(examples, how=how, mosaic_epochs=1)
    assert not _same(plain[0], list(mixed.epoch(0)))
    assert _same(plain[1], list(mixed.epoch(1)))
