"""Imports point down: a unit may use the rows below its own, never a row above, never its neighbours.

`lint-imports` checks the same contract. This one needs nothing installed, names file and line, and also counts imports inside
functions and under `TYPE_CHECKING`.
"""

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
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


@functools.cache  # workers that run none of these tests need not parse everything
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text()) for name, path in modules().items()}


FACES = {name for name, path in modules().items() if path.name == "__init__.py"}


def is_door(node: ast.AST, *, of_a_face: bool) -> bool:
    """Whether a method does no more than hand on what it is asked to what another room does, in three statements at most."""
    if not isinstance(node, ast.FunctionDef):
        return False
    if node.name in ("__getattr__", "_repr_html_"):
        return True
    first = [arg.arg for arg in node.args.args[:1]]
    told = [line for line in node.body if not isinstance(line, ast.Import | ast.ImportFrom) and not _is_text(line)]
    return (of_a_face or first in (["self"], ["cls"])) and len(told) <= 3


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def imported(node: ast.AST) -> list[tuple[str, str, str]]:
    """Module, name and what it is called here, of everything that an import names."""
    if isinstance(node, ast.Import):
        return [(alias.name, "", alias.asname or alias.name.partition(".")[0]) for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [(node.module, alias.name, alias.asname or alias.name) for alias in node.names]
    return []


@functools.cache
def rooms() -> dict[tuple[str, str], str]:
    """What a face (`__init__`) shows of its rooms, and the room where each is."""
    return {
        (face, name): room for face in FACES for node in ast.walk(trees()[face]) for room, name, _ in imported(node) if f"{face}." in room
    }


def needed(module: str) -> set[str]:
    """The modules that one of hooke needs, for types too; what it only needs for its doors is left out.

    What a module takes from a face counts as taken from the room where it is.
    """
    doors, uses, texts = set(), set(), []

    def look(node: ast.AST) -> None:
        if is_door(node, of_a_face=module in FACES):
            doors.add(node)
            return
        if _is_text(node):
            return
        if isinstance(node, ast.Name):
            uses.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # a type in quotes
            texts.append(node.value)
        for child in ast.iter_child_nodes(node):
            look(child)

    look(trees()[module])
    uses |= {word for text in texts for word in re.findall(r"\w+", text)}
    inside = {id(node) for door in doors for node in ast.walk(door)}
    found = set()
    for node in ast.walk(trees()[module]):
        for room, name, called in imported(node):
            if id(node) not in inside and called in uses:
                found.add(next((one for one in (f"{room}.{name}", rooms().get((room, name)), room) if one in trees()), room))
    return found & trees().keys() - {module}


def test_no_import_goes_in_a_circle():
    try:
        TopologicalSorter({name: needed(name) for name in trees()}).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None


def importers(*wanted: str) -> set[str]:
    """The modules of hooke that import one of `wanted` or a part of it, wherever in them."""
    found = set()
    for name, tree in trees().items():
        for node in ast.walk(tree):
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
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(name)
    assert {name: rooms for name, rooms in where.items() if len(rooms) > 1} == {}
