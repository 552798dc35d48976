"""The article as a notebook, and what its code prints written into it: `python docs/article.py` runs it with the real model.

`docs/article.md` is the source: a text block behind a Python block is what that prints. `examples/article.ipynb` is made of it by
`make docs`, without running anything.
"""

import contextlib
import hashlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE, NOTEBOOK = ROOT / "docs" / "article.md", ROOT / "examples" / "article.ipynb"
_CELL = re.compile(r"(?<!-->\n)^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)]+)\)")


def notebook(page: str) -> str:
    """The page as a notebook: prose, code that is run, and under it what it printed when the page was last run."""
    cells, at = [], 0
    for found in _CELL.finditer(page):
        cells += [_prose(page[at : found.start()]), _code(found[1], found[2])]
        at = found.end()
    cells = [cell for cell in [*cells, _prose(page[at:])] if cell["source"]]
    for number, cell in enumerate(cells):
        cell["id"] = hashlib.sha256(f"{number} {''.join(cell['source'])}".encode()).hexdigest()[:8]
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


def _prose(text: str) -> dict[str, Any]:
    plain = re.sub(r"<!--.*?-->\n*", "", text, flags=re.DOTALL).strip()
    return {"cell_type": "markdown", "metadata": {}, "source": _lines(_LINK.sub(_from_examples, plain))}


def _from_examples(link: re.Match[str]) -> str:
    """A link of the page, as the notebook's folder has it."""
    return f"]({link[1].removeprefix('../examples/') if link[1].startswith('../examples/') else '../docs/' + link[1]})"


def _code(code: str, printed: str | None) -> dict[str, Any]:
    outputs = [{"name": "stdout", "output_type": "stream", "text": _lines(printed)}] if printed else []
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": outputs, "source": _lines(code.rstrip("\n"))}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def rerun(page: str) -> str:
    """The page with every Python block run, one after another, and what each prints behind it."""
    names: dict[str, Any] = {"__name__": "__main__"}

    def run(found: re.Match[str]) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(found[1], PAGE.name, "exec"), names)  # noqa: S102 (the page's own code)
        said = f"\n```text\n{out.getvalue()}```\n" if out.getvalue() else ""
        return f"```python\n{found[1]}```\n{said}"

    return _CELL.sub(run, page)


def main() -> None:
    """Run the page and write it, with its notebook."""
    page = rerun(PAGE.read_text())
    PAGE.write_text(page)
    NOTEBOOK.write_text(notebook(page))
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)} and {NOTEBOOK.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
