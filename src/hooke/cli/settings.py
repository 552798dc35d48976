"""Settings: defaults of options in a TOML file, ``hooke.toml`` in the folder at hand before that in the user's own folder."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyclopts import CycloptsError
from cyclopts.config import Toml

from hooke.errors import BadConfig, BadFile, unknown

NAME = "hooke.toml"


class Settings(Toml):
    """One such file; a table for each command, ``[analyze]`` or ``[atlas.build]``, with the long names of its options as keys."""

    def __init__(self, path: Path, commands: Iterable[str]) -> None:
        """`commands` are what a table may be called."""
        super().__init__(path)
        self.commands = sorted(commands)

    @property
    def config(self) -> dict[str, Any]:
        """What stands in the file; nothing where there is none."""
        try:
            found = super().config
        except CycloptsError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise BadFile(f"the settings {self.source} cannot be read: {reason}.") from error
        for key, value in found.items():
            if key not in self.commands or not isinstance(value, dict):
                hint = f"The settings {self.source} have a table for each command: [analyze], and in it top = 3."
                raise BadConfig(str(unknown("command", key, self.commands, hint)))
        return found


def settings_files() -> list[Path]:
    """Where settings are looked for, those that come first going before."""
    if home := os.environ.get("HOOKE_HOME"):
        return [Path(NAME), Path(home) / NAME]
    import platformdirs

    return [Path(NAME), Path(platformdirs.user_config_dir("hooke", appauthor=False)) / NAME]


def settings(commands: Iterable[str]) -> list[Settings]:
    """The settings at hand, for a command line of these `commands`."""
    return [Settings(path, commands) for path in dict.fromkeys(path.absolute() for path in settings_files())]
