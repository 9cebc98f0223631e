"""Flags over variables over a file over defaults; and who holds the state folder."""

from pathlib import Path

import pytest
from lodeworks_controller.config import Config, load_config
from lodeworks_controller.errors import ConflictError, InvalidError
from lodeworks_controller.main import main
from lodeworks_controller.state_lock import Note, locked, read_note, remove_note, write_note


def test_flags_win_over_variables_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "controller.toml"
    file.write_text('state = "/from/file"\nlisten = "file:1"\nlisten_agents = "file:2"\nnames = ["a", "b"]\n')
    monkeypatch.setenv("LODE_LISTEN", "variable:1")
    monkeypatch.setenv("LODE_LISTEN_AGENTS", "variable:2")
    config = load_config({"listen": "flag:1", "listen_agents": None}, file=file)
    assert (config.listen, config.listen_agents, config.state) == ("flag:1", "variable:2", Path("/from/file"))
    assert config.names == ("a", "b")
    assert config.log_level == Config().log_level


@pytest.mark.parametrize("text", ["listen = ", 'lisen = "a:1"', 'pool_processes = "many"'])
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "controller.toml"
    file.write_text(text)
    with pytest.raises(InvalidError):
        load_config({}, file=file)
    with pytest.raises(InvalidError, match="there is no"):
        load_config({}, file=tmp_path / "missing.toml")


def test_one_controller_per_state(tmp_path: Path) -> None:
    note = Note(pid=7, version="1", listen="here:1", listen_agents="here:2", ca_fingerprint="sha256:00")
    with locked(tmp_path):
        write_note(tmp_path, note)
        assert read_note(tmp_path) == note
        with pytest.raises(ConflictError, match="pid 7, here:1"), locked(tmp_path):
            pass
    with locked(tmp_path):
        remove_note(tmp_path)
        assert read_note(tmp_path) is None


def test_a_state_without_an_installation_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("serve", "migrate"):
        assert main([command, "--state", str(tmp_path)]) == 4
        assert f"lode-controller init --state {tmp_path}" in capsys.readouterr().err
    assert main(["doctor", "--state", str(tmp_path)]) == 1
    assert "lode-controller init" in capsys.readouterr().out
