"""The standard streams as they may be: of another encoding, full, closed; a sentence and the documented code, never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command

from hooke import tiny

HOOKE = [sys.executable, "-c", "from hooke.cli import main; main()"]


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SAE whose file's name no narrow encoding has."""
    path = tmp_path_factory.mktemp("saes") / "Überraschung-كأس.safetensors"
    tiny.sae().save(path)
    return path


def run(sae: Path, *options: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = 'exec "$@" ' + redirect
    argv = ["bash", "-c", command, "bash", *HOOKE, "inspect", sae.name, *options]
    return subprocess.run(argv, cwd=sae.parent, env=os.environ | environment, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_json_is_utf_8_always(sae: Path, encoding: str) -> None:
    done = run(sae, "--json", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode("utf-8"))["name"] == tiny.sae().name
    assert run(sae, "--json").stdout == done.stdout


def test_tables_replace_what_cannot_be_shown(sae: Path) -> None:
    done = run(sae, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert tiny.sae().name in done.stdout.decode("ascii")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_or_closed_output_is_6_in_one_sentence(sae: Path, options: list[str]) -> None:
    full, closed = run(sae, *options, redirect="> /dev/full"), run(sae, *options, redirect=">&-")
    assert full.returncode == closed.returncode == 6
    assert full.stderr.decode().startswith("hooke: cannot write to standard output: No space left")
    assert closed.stderr.decode().startswith("hooke: standard output is closed.")
    assert full.stderr.count(b"\n") == closed.stderr.count(b"\n") == 1


def test_a_place_is_refused_before_the_work(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != tmp_path / "locked")
    (tmp_path / "locked").mkdir()
    for name in ("steer", "ablate", "lens", "analyze", "audit", "diff", "eval"):
        for html, said in {
            tmp_path: "it is a folder.",
            tmp_path / "none" / "x.html": f"there is no folder {tmp_path / 'none'}.",
            tmp_path / "locked" / "x.html": f"you may not write in {tmp_path / 'locked'}.",
        }.items():
            more = ["--corpus", "x"] if name == "eval" else []
            assert command(name, "12/17", *more, "--html", str(html)) == (2, "", f"hooke: cannot write {html}: {said}\n")


def test_a_folder_that_cannot_be_read_is_not_blamed_on_the_output(command: Command, sae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert command("inspect", str(sae.parent)) == (3, "", f"hooke: cannot read {sae.parent}: Permission denied.\n")


def test_a_closed_standard_error_changes_nothing(sae: Path) -> None:
    assert run(sae, "--json", redirect="2>&-").stdout == run(sae, "--json").stdout


@pytest.mark.parametrize(("options", "code"), [(["--json"], 0), (["--nonsense"], 2)])
def test_what_cannot_be_said_costs_nothing(sae: Path, options: list[str], code: int) -> None:
    """Standard error on a full disk: the work is done, and the exit code is the one it would be."""
    full, heard = run(sae, *options, redirect="2> /dev/full"), run(sae, *options)
    assert (full.returncode, full.stdout) == (heard.returncode, heard.stdout)
    assert heard.returncode == code


def test_a_closed_input_is_said() -> None:
    argv = ["bash", "-c", 'exec "$@" <&-', "bash", *HOOKE, "analyze", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "hooke: standard input is closed, so - has nothing to read. Give a file, or pipe texts in.\n"
