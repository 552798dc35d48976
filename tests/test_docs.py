"""Documentation is tested: code blocks run, links lead somewhere, generated pages are current, docstring examples hold.

A block is left out by a line `<!-- not run: reason -->` above it. A page that needs the real model says so once, anywhere:
`<!-- needs: gemma-3-270m -->`. A text block right behind a Python block is what that prints. Shell blocks run their lines with `hooke` in
them, on the first lines of each example file: in this process where they hold nothing but pipes, in a shell otherwise.
"""

import contextlib
import doctest
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import own_home
import pytest
from commands import Command

from hooke.model import Model
from hooke.model.carried import CARRIED

ROOT = Path(__file__).resolve().parent.parent
HISTORY = {"CHANGELOG.md", "decisions"}
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if not HISTORY & set(p.relative_to(ROOT).parts))]
SHELLS = {"sh", "bash", "shell", "console"}
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"\n+```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*\Z")
_EXAMPLE_LINES = 12


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    """The word after the fence."""
    code: str
    """What is inside."""
    line: int
    """Line of the page where the code begins, from 1."""
    printed: str | None = None
    """The text block right behind a Python block: what it prints."""


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page that are to be run."""
    for found in _BLOCK.finditer(text):
        if not _NOT_RUN.search(text[: found.start()]):
            shown = _PRINTED.match(text, found.end()) if found[1] == "python" else None
            yield Block(found[1], found[2], text[: found.start(2)].count("\n") + 1, shown and shown[1])


def commands(code: str) -> list[str]:
    """The lines of a shell block that use hooke, prompts taken off and continued lines joined."""
    lines = [line.removeprefix("$ ").strip() for line in code.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.search(r"(^|\| *)hooke\b", line)]


def page_params() -> Iterator[Any]:
    """Every page, marked `real` where it says that it needs the real model: then only what people type first runs each time."""
    for page in PAGES:
        real = [pytest.mark.real] * ("<!-- needs: gemma-3-270m -->" in page.read_text())
        late = [pytest.mark.exhaustive] * (bool(real) and page.name != "README.md")
        yield pytest.param(page, marks=[*real, *late], id=page.relative_to(ROOT).as_posix())


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the repository's root, with short copies of the examples; atlases and notes that a page makes stay there."""
    (tmp_path / "examples").mkdir()
    for path in sorted((ROOT / "examples").glob("*")):
        if path.suffix in (".txt", ".jsonl", ".csv"):
            kept = path.read_text().splitlines(keepends=True)[:_EXAMPLE_LINES]
            (tmp_path / "examples" / path.name).write_text("".join(kept))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOKE_HOME", own_home.another(tmp_path / "home"))
    return tmp_path


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    """Pages ask for the same carried model again and again; loading it each time would take most of their time."""
    load, kept = Model.load, dict[tuple[str, str, str], Model]()

    def once(ref: str | Path = "gemma-3-270m", *, dtype: str = "auto", device: str = "cpu", **rest: object) -> Model:
        key = (str(ref), dtype, device)
        found = kept.get(key) or load(ref, dtype=dtype, device=device, **rest)
        return kept.setdefault(key, found) if key[0] in CARRIED else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "load", once)
        yield


@pytest.mark.parametrize("page", page_params())
def test_blocks_run(page: Path, workplace: Path, command: Command):
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page.read_text()):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "python" and ">>>" in block.code:
            example = doctest.DocTestParser().get_doctest(block.code, names, where, str(page), block.line - 1)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            report: list[str] = []
            assert runner.run(example, out=report.append, clear_globs=False).failed == 0, "".join(report)
            names.update(example.globs)
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * (block.line - 1) + block.code, where, "exec"), names)
            assert block.printed is None or alike(out.getvalue(), block.printed), f"{where} prints:\n{out.getvalue()}"
        elif block.language in SHELLS:
            for line in commands(block.code):
                run_line(line, where, workplace, command)


def alike(printed: str, shown: str) -> bool:
    """Whether a page shows what was printed; its numbers may differ in their last digit, as processors round differently."""
    if _NUMBER.sub("0", printed) != _NUMBER.sub("0", shown):
        return False
    pairs = zip(_NUMBER.findall(printed), _NUMBER.findall(shown), strict=True)
    return all(
        abs(Decimal(a.replace(",", "")) - (b := Decimal(said.replace(",", "")))) <= Decimal((0, (1,), b.as_tuple().exponent))
        for a, said in pairs
    )


def run_line(line: str, where: str, folder: Path, command: Command) -> None:
    """Run one line; it has to succeed. Where it is no more than commands and pipes, `hooke` runs in this process, its imports paid for."""
    if set(line) & set("$;&<>()*?[`~{\\"):
        run_in_shell(line, where, folder)
        return
    said = b""
    for stage in pipeline(line):
        if stage[0] == "hooke":
            code, out, err = command(*stage[1:], stdin=said)
            said = out.encode()
        else:
            done = subprocess.run(stage, input=said, cwd=folder, capture_output=True, timeout=60, check=False)
            code, said, err = done.returncode, done.stdout, done.stderr.decode()
        assert code == 0, f"{where}: {line}\nexit code {code}\n{said.decode()[-2000:]}{err[-2000:]}"


def pipeline(line: str) -> list[list[str]]:
    """The commands of a line that only pipes connect, each as its words; what follows `#` is a remark."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|")
    words.whitespace_split = True
    stages: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            stages.append([])
        else:
            stages[-1].append(word)
    return stages


def run_in_shell(command: str, where: str, folder: Path) -> None:
    """Run one line as a shell would, with the `hooke` of this environment."""
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    argv = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{where}: {command}\nexit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_blocks_are_found_and_left_out():
    left_out = "<!-- not run: costs money -->\n```python\nb\n```\n"
    no_reason = "<!-- not run: -->\n```sh\n$ cat x | hooke analyze - \\\n  --json\nmake demo\n```\n"
    text = f"```python\na = 1\n```\n\n{left_out}\n{no_reason}"
    found = list(blocks(text))
    assert [(block.language, block.line) for block in found] == [("python", 2), ("sh", 12)]
    assert commands(found[1].code) == ["cat x | hooke analyze -    --json"]


def test_what_is_printed_is_what_is_shown():
    (block,) = [block for block in blocks("```python\nprint(1)\n```\n\n```text\n1\n```\n") if block.language == "python"]
    assert block.printed == "1\n"
    assert alike("1,204 words, 0.93\n", "1,203 words, 0.94\n")
    assert not alike("1,204 words, 0.91\n", "1,204 words, 0.93\n")
    assert not alike("one\n", "two\n")


def test_lines_are_taken_apart_as_a_shell_does():
    assert pipeline("cat a.txt | hooke analyze - 'x | y' --top 2  # more") == [
        ["cat", "a.txt"],
        ["hooke", "analyze", "-", "x | y", "--top", "2"],
    ]


def test_links_lead_somewhere():
    bad = []
    for page in sorted({*PAGES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")}):
        prose = _BLOCK.sub("", page.read_text())
        targets = re.findall(r"\]\(([^)#\s]+)", prose) + re.findall(r"(?:src|href)=\"([^\"#]+)", prose)
        bad += [f"{page.relative_to(ROOT)}: {t}" for t in targets if not re.match(r"[a-z]+:", t) and not (page.parent / t).exists()]
    assert not bad, "\n".join(bad)


def test_generated_pages_are_current():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def module_names() -> list[str]:
    """Every module of the package, dotted."""
    paths = sorted((ROOT / "src" / "hooke").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples_hold(name: str):
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    if name == "hooke.kernels.cuda" and importlib.util.find_spec("triton") is None:
        pytest.skip("needs triton")
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name):
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)
