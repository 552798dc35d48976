"""Imports point down: a unit may use the rows below its own, never a row above, never its neighbours.

`lint-imports` checks the same contract. This one needs nothing installed, names file and line, and also counts imports inside
functions and under `TYPE_CHECKING`.
"""

import ast
import tomllib
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "hooke"
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
ROWS = [[unit.strip().removeprefix("hooke.") for unit in row.split("|")] for row in reversed(CONTRACT["layers"])]
RANK = {unit: row for row, units in enumerate(ROWS) for unit in units}


def imported_units(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and unit of every import of a part of hooke in a module that lies in `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = list(package[: len(package) - node.level + 1]) if node.level else []
            stem += node.module.split(".") if node.module else []
            targets = [[*stem, alias.name] for alias in node.names]
        else:
            continue
        yield from ((node.lineno, target[1]) for target in targets if target[0] == "hooke" and len(target) > 1)


def upward(source: str, unit: str, package: tuple[str, ...]) -> list[str]:
    """The imports of `unit` that do not point down, as ``line: unit may not import other``."""
    found = [(line, other) for line, other in imported_units(source, package) if other != unit and other in RANK]
    return [f"{line}: {unit} may not import {other}" for line, other in found if RANK[unit] <= RANK[other]]


def test_imports_point_down():
    bad = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        unit = parts[0].removesuffix(".py")
        if unit in ("__init__", "__main__"):  # the public list may name everything; -m is the command line
            continue
        assert unit in RANK, f"{path.relative_to(ROOT)}: give `{unit}` a row in the import contract of pyproject.toml"
        bad += [f"{path.relative_to(ROOT)}:{line}" for line in upward(path.read_text(), unit, ("hooke", *parts[:-1]))]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    "line",
    [
        "from hooke.train import Config",
        "import hooke.train.loop",
        "from hooke import model",
        "from ..train import loop",
        "def f():\n    import hooke.cli",
    ],
)
def test_an_upward_import_is_caught(line):
    assert len(upward(line, "sae", ("hooke", "sae"))) == 1


def test_a_downward_import_passes():
    assert upward("from hooke.names import Site\nfrom . import spec\nimport torch", "sae", ("hooke", "sae")) == []


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in PACKAGE.rglob("*.py")
    }


def needed(path: Path, known: Collection[str]) -> set[str]:
    """The modules that one of hooke needs to do its work.

    Left out are imports for type checkers, the rooms that a package's face (`__init__`) opens only when it is asked, and what a result
    needs to show itself in a notebook.
    """
    found: set[str] = set()

    def look(node: ast.AST) -> None:
        late = isinstance(node, ast.FunctionDef) and (path.name == "__init__.py" or node.name == "_repr_html_")
        if late or (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(whole if (whole := f"{node.module}.{alias.name}") in known else node.module for alias in node.names)
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(path.read_text()))
    return found & set(known)


def test_no_import_goes_in_a_circle():
    known = modules()
    graph = {name: needed(path, known) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None


def importers(*wanted: str) -> set[str]:
    """The modules of hooke that import one of `wanted` or a part of it, wherever in them."""
    found = set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(one == want or one.startswith(f"{want}.") for one in names for want in wanted):
                found.add(name.removeprefix("hooke."))
    return found


def test_html_is_made_in_reports_and_notebook_cells_alone():
    assert [name for name in importers("hooke.text.markup") if not name.startswith("report.") and not name.endswith(".notebook")] == []


def test_terminal_tables_are_made_in_reports_and_commands_alone():
    assert [name for name in importers("rich") if name.partition(".")[0] not in ("report", "cli")] == []


def test_one_name_means_one_class():
    where: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(name)
    assert {name: rooms for name, rooms in where.items() if len(rooms) > 1} == {}
