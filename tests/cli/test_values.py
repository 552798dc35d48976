"""Counts and shares as people type them: one reading for all commands, and an upper end to each."""

import importlib
from typing import get_args, get_type_hints

import pytest
from cyclopts import App
from hypothesis import given
from hypothesis import strategies as st

from hooke import cli
from hooke.cli import app
from hooke.cli.values import read_count
from hooke.errors import BadConfig

NUMBERS_OF_THEIR_OWN = {("serve", "port"), *(("finetune", name) for name in ("lr", "beta", "share"))}
NUMBERS_OF_THEIR_OWN |= {("train", "about"), ("train", "contrast")}


def parsed(*arguments: str) -> dict[str, object]:
    """What a command is given, the options of a group of `hooke train` as those of other commands."""
    given = app.parse_args(list(arguments), exit_on_error=False, print_error=False)[1].arguments
    groups = [value for value in given.values() if isinstance(value, dict)]
    return {name: value for group in (given, *groups) for name, value in group.items()}


@given(st.integers(-(10**12), 10**12))
def test_a_number_is_read_in_every_spelling(number: int) -> None:
    for text in (str(number), f"{number:,}", f"{number:_}", f" {number} "):
        assert read_count(text) == number
    for letter, scale in (("k", 10**3), ("M", 10**6), ("m", 10**6), ("B", 10**9), ("G", 10**9)):
        assert read_count(f"{number}{letter}") == number * scale
        assert read_count(f"{number}.5{letter}") == (abs(number) * scale + scale // 2) * (-1 if str(number)[0] == "-" else 1)
    assert read_count(f"{number}k", 1024) == number * 1024


@pytest.mark.parametrize("text", ["", "k", "1.5", "1e3", "nan", "two", "1 000", "1.0001k", "9" * 50, "0x10", "٣"])
def test_what_is_no_count_is_none(text: str) -> None:
    assert read_count(text) is None


@pytest.mark.parametrize(
    "command", ["harvest --corpus a --site b --out c", "sample --out c", "train --out c", "finetune s --corpus a --out c"]
)
def test_counts_are_understood_by_every_command_alike(command: str) -> None:
    for text, wanted in (("2M", 2_000_000), ("500k", 500_000), ("12", 12), ("1,000", 1000)):
        assert parsed(*command.split(), "--tokens", text)["tokens"] == wanted
    with pytest.raises(BadConfig, match="--tokens 'many' is not a whole number such as 2000, 500k or 2M"):
        parsed(*command.split(), "--tokens", "many")


def test_widths_count_in_powers_of_two_as_saes_are_named() -> None:
    assert parsed("train", "--out", "x", "--d-sae", "4k", "--d-sae", "300", "--l0", "50")["d_sae"] == (4096, 300)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("sample --tokens 5 --out x --batch 1000000000000", "--batch 1000000000000 is out of range: it must be from 1 to 4,194,304."),
        ("atlas build x --workers 1000000", "--workers 1000000 is out of range: it must be from 0 to 1,024."),
        ("search --min-score nan", "--min-score nan is out of range: it must be from 0 to 1."),
        ("search --max-density inf", "--max-density inf is out of range"),
        ("analyze x --top 0", "--top 0 is out of range: it must be from 1 to 100,000."),
        ("analyze x --min-label-score much", "--min-label-score 'much' is not a number."),
        ("sample --tokens 5 --out x --seed -1", "--seed -1 is out of range"),
    ],
)
def test_every_option_has_an_end(arguments: str, said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parsed(*arguments.split())
    assert said in str(caught.value)


def test_no_number_is_without_bounds() -> None:
    """Every number among the options is read by one of `hooke.cli.values`, or has bounds of its own in the settings it goes into."""
    free = []
    for name in cli._COMMANDS:
        command = getattr(importlib.import_module(f"hooke.cli.{name}"), name)
        hints = {} if isinstance(command, App) else get_type_hints(command, include_extras=True)
        for parameter, kind in hints.items():
            plain, *parameters = get_args(kind) or (kind,)
            number = {int, float} & {plain, *get_args(plain)}
            if parameter != "return" and number and not any(getattr(one, "converter", None) for one in parameters):
                free.append((name, parameter))
    assert set(free) <= NUMBERS_OF_THEIR_OWN
