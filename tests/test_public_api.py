"""`import hooke` is quiet and light, and its public list is true."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hooke

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "tokenizers", "numpy", "numba", "gguf", "huggingface_hub", "rich", "cyclopts", "asyncio")


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new Python."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_import_is_quiet_and_light():
    done = fresh(
        "import json, logging, os, sys, warnings\n"
        "state = lambda: [dict(os.environ), logging.root.handlers, warnings.filters[:], sys.excepthook is sys.__excepthook__]\n"
        "before = state()\n"
        "import hooke\n"
        "print(json.dumps({'same': state() == before, 'modules': sorted(sys.modules)}))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["same"], "importing hooke changed the environment, logging, warnings or the exception hook"
    assert [name for name in HEAVY if name in found["modules"]] == []


def test_help_needs_no_torch():
    done = fresh(
        "import sys\n"
        "sys.argv = ['hooke', '--help']\n"
        "from hooke.cli import main\n"
        "try:\n    code = main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules], code or 0, file=sys.stderr)\n"
    )
    assert done.stderr.strip() == "[] 0"
    assert "analyze" in done.stdout


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by the alphabet: the order ruff keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_public_list_is_true_and_sorted():
    assert list(hooke.__all__) == sorted(set(hooke.__all__), key=order)
    assert set(hooke.__all__) <= set(dir(hooke))
    for name in hooke.__all__:
        assert getattr(hooke, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(hooke, "no_such_name")  # noqa: B009


def test_public_names_are_documented():
    text = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
    missing = [name for name in hooke.__all__ if not name.startswith("__") and not re.search(rf"\b{name}\b", text)]
    assert not missing, f"name them in README.md or docs/: {missing}"
