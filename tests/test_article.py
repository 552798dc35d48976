"""The article: its notebook, and its last section against a hub on this machine."""

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import fake_hub
import pytest
from small_gemma import gemma_2, gemma_scope

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "article.md").read_text()


@pytest.fixture(scope="module")
def article() -> ModuleType:
    spec = importlib.util.spec_from_file_location("article", ROOT / "docs" / "article.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(notebook: str, kind: str) -> list[str]:
    """The sources of the cells of one kind."""
    return ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == kind]


def test_a_notebook_has_the_pages_prose_code_and_printed_text(article: ModuleType) -> None:
    left_out = "<!-- not run: costs money -->\n```python\nspend()\n```\n"
    page = f"# A\n\n<!-- needs: x -->\n\nSee [b](b.md).\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\nmore\n\n{left_out}"
    made = json.loads(article.notebook(page))
    assert cells(json.dumps(made), "code") == ["print(1)"]
    assert [cell["outputs"] for cell in made["cells"] if cell["cell_type"] == "code"] == [
        [{"name": "stdout", "output_type": "stream", "text": ["1\n"]}]
    ]
    assert cells(json.dumps(made), "markdown") == ["# A\n\nSee [b](../docs/b.md).", "more\n\n```python\nspend()\n```"]
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])


def test_a_page_is_run_anew(article: ModuleType) -> None:
    page = "```python\na = 2\n```\n\nand\n\n```python\nprint(a)\n```\n\n```text\n1\n```\n\nend\n"
    assert article.rerun(page) == page.replace("text\n1", "text\n2")


def test_the_notebooks_links_lead_somewhere(article: ModuleType) -> None:
    for source in cells(article.notebook(PAGE), "markdown"):
        for link in article._LINK.findall(source):
            assert (ROOT / "examples" / link.partition("#")[0]).exists(), link


def defines_only(code: str) -> bool:
    """Whether code imports and defines and does nothing else."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    constants = (node.targets[0] for node in ast.parse(code).body if isinstance(node, ast.Assign))
    body = [node for node in ast.parse(code).body if not isinstance(node, (*kinds, ast.Assign))]
    return not body and all(ast.unparse(target).isupper() for target in constants)


def test_gemma_2_and_gemma_scope_from_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], article: ModuleType
) -> None:
    folder = tmp_path / "gemma-2-2b"
    files = gemma_2(folder)
    blocks = [found[1] for found in article._CELL.finditer(PAGE) if defines_only(found[1])]
    (on_the_hub,) = [code for code in PAGE.split("```") if code.startswith("python\n") and "hf_hub_download(" in code]
    names: dict[str, object] = {}
    with fake_hub.serving() as hub:
        fake_hub.connect(hub, tmp_path / "cache", monkeypatch)
        hub.add("google/gemma-2-2b", files)
        hub.add("google/gemma-scope-2b-pt-res", {"layer_20/width_16k/average_l0_71/params.npz": gemma_scope(folder)})
        for code in (*blocks, "import hooke", on_the_hub.removeprefix("python\n")):
            exec(compile(code, "article.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    texts = names["TEXTS"]
    assert isinstance(texts, list)
    assert [line.partition(" [")[0] for line in printed if " [" in line] == texts[::3]
