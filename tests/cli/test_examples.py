"""Every command's help ends with examples, and each of them is a command that is understood."""

import io
import shlex

import pytest
from rich.console import Console

from hooke import cli
from hooke.cli import app
from hooke.cli.atlas import _COMMANDS as OF_ATLASES
from hooke.cli.examples import EXAMPLES
from hooke.cli.monitor import _COMMANDS as OF_MONITORS

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


def test_every_group_of_the_help_names_commands_that_there_are_each_once():
    from hooke import cli

    grouped = [command for commands in cli._GROUPS.values() for command in commands]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) < set(cli._COMMANDS)
