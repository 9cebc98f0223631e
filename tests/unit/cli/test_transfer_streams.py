"""How many streams a download uses: said by the profile, or by the environment."""

from pathlib import Path

import pytest
from lodeworks.errors import InvalidError
from lodeworks.profile import Profile, Profiles, Surroundings, choose


def surroundings(folder: Path, **more: str) -> Surroundings:
    return Surroundings.read({"HOME": str(folder), "LODE_CONFIG_FOLDER": str(folder), **more})


def test_the_environment_wins_over_the_profile(tmp_path: Path) -> None:
    Profiles(tmp_path).save(Profile("lab", "lab:7443", token="t", transfer_streams=2), use=True)

    assert choose(surroundings(tmp_path)).transfer_streams == 2
    assert choose(surroundings(tmp_path, LODE_TRANSFER_STREAMS="8")).transfer_streams == 8


def test_a_profile_of_before_reads_four_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "profiles.yaml").write_text("current: lab\nprofiles: {lab: {server: 'lab:7443', token: t}}\n")

    assert choose(surroundings(tmp_path)).transfer_streams == 4


@pytest.mark.parametrize("wrong", ["0", "33", "many", "-1"])
def test_a_number_out_of_range_is_refused(tmp_path: Path, wrong: str) -> None:
    Profiles(tmp_path).save(Profile("lab", "lab:7443", token="t"), use=True)

    with pytest.raises(InvalidError, match="from 1 to 32"):
        choose(surroundings(tmp_path, LODE_TRANSFER_STREAMS=wrong))
