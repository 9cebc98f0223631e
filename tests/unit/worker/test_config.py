import sys

import pytest
from lodeworks_worker.config import load
from lodeworks_worker.errors import ConfigError

FILE = """
max_runs = 3
drivers = ["process", "fake"]
[labels]
room = "hall"
[environments]
"executor:detector" = ["/opt/torch/bin/python"]
[executors.own]
command = ["/opt/own/start"]
private_mounts = true
[[fake_gpus]]
uuid = "GPU-0"
"""


def test_the_defaults_run_a_worker(tmp_path):
    config = load({"state": str(tmp_path)}, environ={"PATH": "/bin", "LODE_SECRET": "x"})
    assert config.state == tmp_path
    assert config.environments == {"*": (sys.executable,)}
    assert config.program_environment == {"PATH": "/bin"}
    assert config.max_runs >= 2


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path):
    (tmp_path / "worker.toml").write_text(FILE)
    flags = {"state": str(tmp_path)}
    assert load(flags, environ={}).max_runs == 3
    assert load(flags, environ={"LODE_WORKER_MAX_RUNS": "4"}).max_runs == 4
    assert load({**flags, "max_runs": 5}, environ={"LODE_WORKER_MAX_RUNS": "4"}).max_runs == 5
    assert load({}, environ={"LODE_WORKER_STATE": str(tmp_path), "LODE_WORKER_DRIVERS": "docker"}).drivers == (
        "docker",
    )


def test_the_file_names_environments_programs_and_gpus(tmp_path):
    (tmp_path / "worker.toml").write_text(FILE)
    config = load({"state": str(tmp_path)}, environ={})
    assert config.environments["executor:detector"] == ("/opt/torch/bin/python",)
    assert config.executors["own"].private_mounts
    assert config.fake_gpus[0].uuid == "GPU-0"
    assert config.labels == {"room": "hall"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_runs = 0", "max_runs must be"),
        ("max_run = 1", "unknown key 'max_run'"),
        ('drivers = ["podman"]', "'podman' is none of"),
        ("labels = 3", "labels must be a table"),
        ("[executors.own]\n", "executors.own needs a command"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, text, words):
    (tmp_path / "worker.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load({"state": str(tmp_path)}, environ={})


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load({}, environ={}, file=tmp_path / "none.toml")


def test_what_imports_may_reach_is_the_owners_to_say(tmp_path):
    (tmp_path / "worker.toml").write_text(
        'import_roots = ["/data", "/more"]\nimport_private_addresses = true\nimport_max_bytes = 5\n'
    )
    told = load({"state": str(tmp_path)}, environ={"PATH": "/bin"}).program_environment
    assert told == {
        "PATH": "/bin",
        "LODE_IMPORT_ROOTS": "/data:/more",
        "LODE_IMPORT_PRIVATE": "1",
        "LODE_IMPORT_MAX_BYTES": "5",
    }
    assert load({"state": str(tmp_path / "none")}, environ={}).program_environment == {}
    for wrong in ('import_roots = ["data"]', "import_private_addresses = 7", "import_max_bytes = 0"):
        (tmp_path / "worker.toml").write_text(wrong)
        with pytest.raises(ConfigError, match=wrong.partition(" ")[0]):
            load({"state": str(tmp_path)}, environ={})


def test_streams_are_counted(tmp_path):
    flags = {"state": str(tmp_path)}
    assert load(flags, environ={}).transfer_streams == 4
    assert load(flags, environ={"LODE_WORKER_TRANSFER_STREAMS": "8"}).transfer_streams == 8
    for wrong in ("0", "33", "many"):
        with pytest.raises(ConfigError, match="transfer_streams"):
            load(flags, environ={"LODE_WORKER_TRANSFER_STREAMS": wrong})
