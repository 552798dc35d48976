"""Settings in a file: defaults that the command line overrides, each fault said with the file it stands in."""

import re
from pathlib import Path

import pytest
from commands import Command

from hooke import tiny
from hooke.sae import Sae


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Run ``hooke inspect`` on an SAE's file in a folder of its own, with a home beside it."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOOKE_HOME", str(home))
    monkeypatch.chdir(here)
    tiny.sae().save(here / "sae.safetensors")
    assert Sae.load("sae.safetensors").d_sae == 64
    return lambda *arguments: command("inspect", "sae.safetensors", *arguments)


def test_the_folder_goes_before_the_home_and_the_command_line_before_both(inspect: Command) -> None:
    def is_json(*arguments: str) -> bool:
        code, out, _ = inspect(*arguments)
        assert code == 0
        return out.startswith("{")

    assert not is_json()
    Path("../home/hooke.toml").write_text('[inspect]\njson = true\n[search]\nlimit = "1k"\n')
    assert is_json()
    Path("hooke.toml").write_text("[inspect]\njson = false\n")
    assert not is_json()
    assert is_json("--json")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[inspect\n", 3, "cannot be read: Expected"),
        ("[inspect]\nmodle = 'x'\n", 2, "modle"),
        ("[inspct]\nmodel = 'x'\n", 2, "unknown command 'inspct'. Did you mean 'inspect'?"),
        ("json = true\n", 2, "have a table for each command"),
    ],
)
def test_a_fault_names_the_file(inspect: Command, text: str, code: int, said: str) -> None:
    Path("hooke.toml").write_text(text)
    found = inspect("--json")
    assert (found[0], found[1]) == (code, "")
    assert said in found[2]
    assert str(Path("hooke.toml").absolute()) in re.sub(r"[\s│]", "", found[2])  # cyclopts puts its errors in a frame


def test_a_number_out_of_bounds_names_the_file(inspect: Command, command: Command) -> None:
    Path("hooke.toml").write_text('[search]\nlimit = "lots"\n')
    code, _, err = command("search", "x")
    assert code == 2
    assert err == f"hooke: limit in {Path('hooke.toml').absolute()} 'lots' is not a whole number such as 2000, 500k or 2M.\n"
