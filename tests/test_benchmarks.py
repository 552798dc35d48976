"""Benchmarks run seldom and follow the library always: each can be imported, finds all it asks of Hooke, and says what it takes."""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
BENCHMARKS = sorted(FOLDER.glob("*.py"))
OWN = {path.stem for path in BENCHMARKS}

each = pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Benchmarks find each other, as they do when they are run, and are gone afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    hidden = {name: sys.modules.pop(name) for name in OWN & sys.modules.keys()}
    yield
    for name in OWN & sys.modules.keys():
        del sys.modules[name]
    sys.modules.update(hidden)


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"hooke", *OWN}:
            raise
        pytest.skip(f"needs {missing}")
    return module


@each
def test_it_imports_and_says_what_it_takes(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = loaded(path)
    assert module.__doc__
    if "argparse" not in vars(module):
        return
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as left:
        module.main()
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


@each
def test_all_that_it_asks_of_hooke_is_there(path: Path) -> None:
    """Also what is imported within functions, which running `--help` does not reach."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hooke":
            assert node.module is not None
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
