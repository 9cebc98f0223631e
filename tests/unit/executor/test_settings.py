import pytest
from lodeworks_executor import BadSettingError, ErrorCode, Settings


@pytest.mark.parametrize("value", [20, 20.0, "20"])
def test_a_whole_number_may_be_written_in_several_ways(value):
    assert Settings({"epochs": value}).integer("epochs") == 20


@pytest.mark.parametrize("value", ["twenty", 1.5, True, [1], float("nan")])
def test_what_is_no_whole_number_is_refused_by_name(value):
    with pytest.raises(BadSettingError, match="'epochs': wants a whole number") as caught:
        Settings({"epochs": value}).integer("epochs")
    assert caught.value.key == "epochs"
    assert caught.value.code == ErrorCode.CONFIG


def test_a_missing_setting_takes_the_default_or_is_refused():
    assert Settings({}).integer("epochs", default=0) == 0
    with pytest.raises(BadSettingError, match="'epochs': is missing"):
        Settings({}).integer("epochs")


def test_ranges_are_checked():
    settings = Settings({"rate": 0.5})
    assert settings.number("rate", minimum=0.1, maximum=1.0) == 0.5
    with pytest.raises(BadSettingError, match="at least 1"):
        settings.number("rate", minimum=1)
    with pytest.raises(BadSettingError, match=r"at most 0\.2"):
        settings.number("rate", maximum=0.2)


@pytest.mark.parametrize(("value", "wanted"), [(True, True), ("no", False), ("On", True), (0, False)])
def test_flags_understand_the_spellings_of_yaml(value, wanted):
    assert Settings({"resume": value}).flag("resume") is wanted


def test_a_flag_is_no_word():
    with pytest.raises(BadSettingError, match="true or false"):
        Settings({"resume": "perhaps"}).flag("resume")


def test_lists_come_with_commas_or_as_yaml():
    assert Settings({"gpu_id": "0,1"}).integers("gpu_id") == [0, 1]
    assert Settings({"gpu_id": 3}).integers("gpu_id") == [3]
    assert Settings({"gpu_id": ""}).integers("gpu_id", default=[]) == []
    assert Settings({"names": ["a", " b "]}).texts("names") == ["a", "b"]


def test_a_choice_is_found_whatever_its_case():
    assert Settings({"how": "NONE"}).text("how", choices=("none", "all")) == "none"
    with pytest.raises(BadSettingError, match="one of all, none"):
        Settings({"how": "some"}).text("how", choices=("none", "all"))


def test_a_mistyped_setting_is_told_with_the_right_name():
    settings = Settings({"epoch": 3, "task_id": "t", "class_names": ["a"]})
    with pytest.raises(BadSettingError, match="did you mean 'epochs'"):
        settings.refuse_unknown({"epochs", "seed"})
    Settings({"epochs": 3, "gpu_id": ""}).refuse_unknown({"epochs"})
