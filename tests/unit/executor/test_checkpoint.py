import pytest
from lodeworks_executor.checkpoint import Checkpoint


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "in", tmp_path / "out"


def _save(checkpoint, label, text):
    with checkpoint.saving(label) as folder:
        (folder / "state").write_text(text)


def _fail_while_saving(checkpoint):
    with checkpoint.saving("epoch_2") as folder:
        (folder / "state").write_text("half")
        raise OSError("disk full")


def test_nothing_is_found_at_first(folders):
    assert Checkpoint(inputs=folders[0], outputs=folders[1]).find() is None


def test_the_newest_complete_one_is_found_and_older_ones_are_gone(folders):
    checkpoint = Checkpoint(inputs=folders[0], outputs=folders[1])
    _save(checkpoint, "epoch_1", "one")
    _save(checkpoint, "epoch_2", "two")
    found = checkpoint.find()
    assert (found.label, found.files["state"].read_text()) == ("epoch_2", "two")
    assert sorted(path.name for path in folders[1].iterdir()) == ["DONE", "epoch_2-state"]


def test_the_next_attempt_finds_it_among_its_inputs(folders, tmp_path):
    _save(Checkpoint(inputs=folders[0], outputs=folders[1]), "epoch_1", "one")
    found = Checkpoint(inputs=folders[1], outputs=tmp_path / "fresh").find()
    assert found.files["state"].read_text() == "one"


def test_a_failure_while_saving_leaves_the_one_before(folders):
    checkpoint = Checkpoint(inputs=folders[0], outputs=folders[1])
    _save(checkpoint, "epoch_1", "one")
    with pytest.raises(OSError, match="disk"):
        _fail_while_saving(checkpoint)
    assert checkpoint.find().label == "epoch_1"


def test_files_without_done_are_no_checkpoint(folders):
    folders[0].mkdir()
    (folders[0] / "epoch_1-state").write_text("one")
    assert Checkpoint(inputs=folders[0], outputs=folders[1]).find() is None
    (folders[0] / "DONE").write_text("{broken")
    assert Checkpoint(inputs=folders[0], outputs=folders[1]).find() is None


def test_done_cannot_name_a_file_elsewhere(folders, tmp_path):
    (tmp_path / "secret").write_text("s")
    folders[0].mkdir()
    (folders[0] / "DONE").write_text('{"label": "x", "files": {"state": "../secret"}}')
    assert Checkpoint(inputs=folders[0], outputs=folders[1]).find() is None
