"""Where an installation is: SQLite in its state folder, or PostgreSQL with a shared folder; and what is refused."""

from pathlib import Path

import pytest
from lodeworks_controller.config import load_config
from lodeworks_controller.errors import InvalidError
from lodeworks_controller.main import main
from lodeworks_controller.storage.database.postgres_address import driver_arguments, without_secret


def init(state: Path, *more: str) -> int:
    return main(["init", "--state", str(state), "--log-level", "WARNING", *more])


@pytest.mark.postgres
def test_two_state_folders_join_one_installation_and_a_third_is_refused(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ("--database", postgres_url, "--shared", str(tmp_path / "shared"))
    assert init(tmp_path / "a", *shared) == 0
    first = capsys.readouterr().out
    assert init(tmp_path / "b", *shared) == 0
    told = {line.split(": ")[0]: line for line in first.splitlines()}
    assert told["ca_fingerprint"] in capsys.readouterr().out
    # What init was told is remembered, with its secret for the owner alone.
    config = load_config({"state": str(tmp_path / "a")})
    assert config.database_address == postgres_url
    assert config.blobs == tmp_path / "shared" / "blobs"
    assert (tmp_path / "a" / "installation.toml").stat().st_mode & 0o077 == 0
    assert main(["doctor", "--state", str(tmp_path / "b")]) == 0
    capsys.readouterr()
    assert init(tmp_path / "c", "--database", postgres_url, "--shared", str(tmp_path / "elsewhere")) == 4
    assert "--shared" in capsys.readouterr().err


@pytest.mark.postgres
def test_postgresql_without_a_shared_folder_is_refused(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path / "a", "--database", postgres_url) == 4
    assert "say --shared FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.postgres
def test_content_that_only_looks_shared_is_refused(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = tmp_path / "shared"
    assert init(tmp_path / "a", "--database", postgres_url, "--shared", str(shared)) == 0
    # Another machine's folder of the same name, with a copy of the trust.
    (shared / "blobs" / "installation.id").unlink()
    capsys.readouterr()
    assert init(tmp_path / "b", "--database", postgres_url, "--shared", str(shared)) == 4
    assert "on the same disk" in capsys.readouterr().err


def test_a_server_that_is_away_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--database", "postgresql://lode@127.0.0.1:1/lode", "--shared", str(tmp_path / "shared"))
    assert init(tmp_path / "a", *where) == 4
    assert "the database server does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://host/lode", "does not begin with postgresql://"),
        ("postgresql://host", "names no database"),
        ("postgresql://host:http/lode", "the address of the database is wrong"),
        ("postgresql://host/lode?pool=3", "it sets pool"),
    ],
)
def test_a_wrong_address_is_refused_with_what_is_wrong(url: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        driver_arguments(url)


def test_an_address_is_shown_without_its_password() -> None:
    shown = without_secret("postgresql://lode:secret@host:5432/lode?password=secret&host=/run")
    assert shown == "postgresql://lode@host:5432/lode?host=/run"
    assert driver_arguments("postgres://l%40b:p%2Fw@h/lode")["password"] == "p/w"


def test_the_state_folder_of_sqlite_has_one_controller(tmp_path: Path) -> None:
    config = load_config({"state": str(tmp_path)})
    assert config.database_address == tmp_path / "lode.db"
    assert config.scratch == tmp_path / "scratch"
