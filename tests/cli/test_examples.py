"""Every command's help ends with examples, and each of them is a command that is understood."""

import io
import shlex

import pytest
from commands import Command
from cyclopts import CycloptsError
from rich.console import Console

from hooke import cli
from hooke.cli import app
from hooke.cli.atlas import _COMMANDS as OF_ATLASES
from hooke.cli.examples import EXAMPLES
from hooke.cli.monitor import _COMMANDS as OF_MONITORS
from hooke.errors import BadConfig

COMMANDS = {
    *(name for name in cli._COMMANDS if name not in ("atlas", "monitor")),
    *(f"atlas {name}" for name in OF_ATLASES),
    *(f"monitor {name}" for name in OF_MONITORS),
}


def test_every_command_has_some() -> None:
    assert set(EXAMPLES) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_they_are_understood_and_shown(command: str) -> None:
    out = io.StringIO()
    app.help_print(command.split(), console=Console(file=out, width=100, color_system=None))
    for line in EXAMPLES[command].strip().splitlines():
        assert line in out.getvalue()
        assert len(line) <= 98
        words = shlex.split(line.partition("| ")[2] or line)
        assert words[0] == "hooke"
        assert words[1 : 1 + len(command.split())] == command.split()
        app.parse_args(words[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_mistyped_option_is_read_as_nothing_else(command: str) -> None:
    words = shlex.split(EXAMPLES[command].strip().splitlines()[0].partition("| ")[2] or EXAMPLES[command].strip().splitlines()[0])
    for wrong in (["--modle", "x"], ["--modle=x"]):
        with pytest.raises((BadConfig, CycloptsError), match=r"nknown option:? '?--modle"):
            app.parse_args([*words[1:], *wrong], exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        *((f"{command} TEXT", text) for command in ("analyze", "topics", "monitor run m", "ablate 12/17") for text in ("-5 degrees", "-")),
        *((command, "-5 degrees") for command in ("attribute TEXT", "lens TEXT", "lens x --beside TEXT", "steer 12/17 --prompt TEXT")),
        *((f"attribute x --{name} TEXT", "-") for name in ("token", "against", "baseline")),
        *((f"feature 12/17 --{name} TEXT", "-5") for name in ("note", "label")),
        ("sample --tokens 5 --out f --prompt TEXT", "- one"),
        ("search bank TEXT", "-river"),
    ],
)
def test_a_text_may_begin_with_a_hyphen(command: str, text: str) -> None:
    words = [text if word == "TEXT" else word for word in command.split()]
    given = app.parse_args(words, exit_on_error=False, print_error=False)[1].arguments.values()
    assert any(text == value or (isinstance(value, tuple) and text in value) for value in given)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("monitor make f.jsonl --fild x", "Unknown option: --fild. Did you mean --field?"),
        ("monitor make f.jsonl --bi=x --kind d", "Unknown option: --bi. Did you mean --by?"),
        ("monitor make f.jsonl --by x --kind d", "--out requires an argument"),
        ("monitor make f.jsonl --by", "--by requires an argument"),
    ],
)
def test_a_mistyped_option_is_named_before_what_is_missing(words: str, said: str, command: Command) -> None:
    code, out, err = command(*words.split())
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_an_option_is_no_text() -> None:
    for words in (["steer", "12/17", "--prompt", "--dose", "1"], ["lens", "x", "--beside", "--json"]):
        with pytest.raises(
            BadConfig, match=f"{words[-2] if words[-1] == '1' else words[-1]} is an option, and stands where a text is meant"
        ):
            app.parse_args(words, exit_on_error=False, print_error=False)


def test_every_group_of_the_help_names_commands_that_there_are_each_once():
    from hooke import cli

    grouped = [command for commands in cli._GROUPS.values() for command in commands]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) < set(cli._COMMANDS)
