"""Class maps: every change is a revision, names compare without case, and no box is rewritten."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lodeworks_controller.domain.object_class import ClassMap, ClassSelection, RawClass
from lodeworks_controller.errors import ExistsError, InvalidError, NotFoundError


def ids():
    numbers = count(1)
    return lambda: f"id{next(numbers)}"


@pytest.fixture
def blood():
    return ClassMap("p", 0).add(["RBC", "WBC", "Platelets"], ids=ids())


def test_names_compare_without_case_and_keep_their_spelling(blood):
    assert blood.names == ("RBC", "WBC", "Platelets")
    assert blood.get("rbc").name == "RBC"
    assert blood.get("PLATELETS").name == "Platelets"
    # é as one character and as e with an accent behind it.
    accented = blood.add(["caf\u00e9"], ids=ids())
    assert accented.get("CAFE\u0301").name == "caf\u00e9"


def test_a_taken_name_is_refused(blood):
    for taken in ("rbc", "RBC"):
        with pytest.raises(ExistsError):
            blood.add([taken], ids=ids())
    with pytest.raises(ExistsError):
        blood.add(["A", "a"], ids=ids())
    with pytest.raises(ExistsError):
        blood.add(["Red"], ids=ids(), aliases=["wbc"])
    with pytest.raises(InvalidError):
        blood.add([" "], ids=ids())


def test_a_rename_keeps_the_old_name_as_an_alias(blood):
    renamed = blood.rename("RBC", "red cell")

    assert renamed.revision == blood.revision + 1
    assert renamed.get("rbc").name == "red cell"
    assert renamed.rename("red cell", "Red Cell").get("RBC").aliases == ("RBC",)
    with pytest.raises(ExistsError, match="merge"):
        blood.rename("RBC", "wbc")


def test_a_merge_makes_names_aliases(blood):
    merged = blood.merge(["RBC", "WBC"], into="Platelets")

    assert merged.names == ("Platelets",)
    assert merged.resolve([RawClass(1, "RBC"), RawClass(2, "wbc"), RawClass(3, "other")]) == {
        1: "Platelets",
        2: "Platelets",
    }


def test_a_deleted_class_is_ignored_and_can_come_back(blood):
    gone = blood.delete("RBC")

    assert gone.unknown(["RBC", "Spot", "spot"]) == ("Spot",)
    assert gone.meaningless(["RBC", "Spot", "WBC"]) == ("RBC", "Spot")
    assert gone.resolve([RawClass(1, "RBC")]) == {}
    back = gone.add(["rbc"], ids=ids())
    assert back.resolve([RawClass(1, "RBC")]) == {1: "rbc"}
    assert back.ignored == ()


def test_aliases_come_and_go(blood):
    with_alias = blood.alias("RBC", add=["erythrocyte", "rbc"])

    assert with_alias.get("Erythrocyte").aliases == ("erythrocyte",)
    assert with_alias.alias("RBC", remove=["ERYTHROCYTE"]).find("erythrocyte") is None
    with pytest.raises(NotFoundError):
        blood.alias("RBC", remove=["nothing"])
    with pytest.raises(ExistsError):
        blood.alias("RBC", add=["wbc"])


def test_a_change_that_changes_nothing_is_no_revision(blood):
    assert blood.rename("RBC", "RBC").revision == blood.revision
    assert blood.merge(["RBC"], into="RBC").revision == blood.revision


def test_a_selection_keeps_its_order_and_refuses_doubles(blood):
    assert ClassSelection(("platelets", "rbc")).apply(blood) == ("Platelets", "RBC")
    assert ClassSelection().apply(blood) == blood.names
    with pytest.raises(InvalidError):
        ClassSelection(("RBC", "rbc")).apply(blood)
    with pytest.raises(NotFoundError, match="it has: RBC, WBC, Platelets"):
        ClassSelection(("Spot",)).apply(blood)


def changed(current, action, number):
    names = current.names
    name = names[number % len(names)]
    if action == "rename":
        return current.rename(name, f"new{current.revision}-{number}")
    if action == "merge":
        return current.merge([name], into=names[(number + 1) % len(names)])
    if action == "alias":
        return current.alias(name, add=[f"alias{current.revision}-{number}"])
    return current.delete(name)


@given(st.lists(st.tuples(st.sampled_from(["rename", "merge", "alias", "delete"]), st.integers(0, 9)), max_size=8))
def test_every_raw_name_means_at_most_one_class(changes):
    current = ClassMap("p", 0).add([f"c{number}" for number in range(5)], ids=ids())
    for action, number in changes:
        if not current.names:
            break
        current = changed(current, action, number)
        folded = [known.casefold() for entry in current.classes for known in entry.names]
        assert len(folded) == len(set(folded))
