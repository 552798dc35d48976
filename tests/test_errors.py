"""Every error is one of ours with its exit code, and an unknown name is always told in one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke import errors
from hooke.errors import HookeError, UnknownName, unknown

EXIT_CODES = {
    "HookeError": 1,
    "BadConfig": 2,
    "BadFile": 3,
    "ShapeMismatch": 3,
    "UnknownName": 4,
    "Missing": 4,
    "DigestMismatch": 5,
    "LimitReached": 6,
    "Busy": 75,
}


def test_every_error_has_the_documented_exit_code() -> None:
    found = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, HookeError)}
    assert {name: kind.exit_code for name, kind in found.items()} == EXIT_CODES
    for name, kind in found.items():
        assert kind.__doc__
        assert name == "HookeError" or kind.__bases__ == (HookeError,)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    rows = [line.split() for line in (errors.__doc__ or "").splitlines() if "──" in line]
    assert {row[1]: int(row[2]) for row in rows} == {name: code for name, code in EXIT_CODES.items() if name != "HookeError"}


@pytest.mark.parametrize(
    ("asked", "known", "hint", "said"),
    [
        (
            "resid_pst",
            ["resid_pre", "resid_post"],
            "",
            "unknown thing 'resid_pst'. Did you mean 'resid_post'? Known: resid_post, resid_pre.",
        ),
        ("zzz", ["b", "a", "b"], "Try a.", "unknown thing 'zzz'. Known: a, b. Try a."),
        ("x", [], "Install one.", "unknown thing 'x'. None is known here. Install one."),
        (12, ["13"], "", "unknown thing '12'. Did you mean '13'? Known: 13."),
        ("it's\n", ["a"], "", 'unknown thing "it\'s\\n". Known: a.'),
    ],
)
def test_an_unknown_name_says_what_was_asked_what_is_near_what_is_known_and_what_to_do(
    asked: object, known: list[str], hint: str, said: str
) -> None:
    error = unknown("thing", asked, known, hint)
    assert type(error) is UnknownName
    assert str(error) == said


def test_of_many_known_names_twenty_are_shown() -> None:
    said = str(unknown("feature", "zz", [f"n{i:03d}" for i in range(50)]))
    assert said.endswith("n018, n019 and 30 more.")
    assert "n020" not in said


@given(st.text(), st.lists(st.text(max_size=9), max_size=30))
def test_it_is_one_line_whatever_was_asked(asked: str, known: list[str]) -> None:
    said = str(unknown("thing", asked, known))
    assert said.startswith(f"unknown thing {asked!r}.")
    assert "Did you mean" not in said or any(f"Did you mean {name!r}?" in said for name in known)
