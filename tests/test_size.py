"""Nothing grows past what one can hold in the head: modules, functions, parameters, classes and configs.

Exceptions are named, each with its reason; one that is no longer needed fails, so the list only shrinks.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX = {"lines": 400, "function lines": 60, "parameters": 7, "public methods": 12, "config fields": 15}

# "path" or "path:name", and which limit -> why it may be passed.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("src/hooke/cli/sample.py:sample", "parameters"): "a command's options are its parameters",
    ("src/hooke/text/corpus.py:windows", "parameters"): "every one decides which windows come, and each but three has a default",
    ("src/hooke/cli/harvest.py:harvest", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/analyze.py:analyze", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/attribute.py:attribute", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/lens.py:lens", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/atlas_build.py:build", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/atlas_effects.py:effects", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/diff.py:diff", "parameters"): "a command's options are its parameters",
    ("src/hooke/differences/__init__.py:diff", "parameters"): "how texts are grouped and read, and all but one have a default",
    ("src/hooke/cli/monitor_make.py:make", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/eval.py:eval", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/explain.py:explain", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/feature.py:feature", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/finetune.py:finetune", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/search.py:search", "parameters"): "a command's options are its parameters",
    ("src/hooke/serve/atlas_routes.py:features", "parameters"): "a route's query is its parameters",
    ("src/hooke/cli/steer.py:steer", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/plan.py:plan", "parameters"): "a command's options are its parameters",
    ("src/hooke/cli/train.py:train", "parameters"): "a command's options are its parameters",
    ("src/hooke/builder/__init__.py:build_atlas", "parameters"): "what is read, how and where, and all but four have a default",
    ("src/hooke/attribute.py:attribute", "parameters"): "what is asked, then how it is worked out, and all but four have a default",
    ("src/hooke/model/sampling.py:generate", "parameters"): "what is drawn, how, and who looks on; all but five have a default",
    ("src/hooke/steer.py:steer", "parameters"): "how texts are written, and all but three have a default",
    ("src/hooke/sae/autoencoder.py:Sae", "public methods"): "a third of them are one-line doors to the edits of `hooke.sae.edits`",
    ("src/hooke/kernels/cpu.py:_decode", "parameters"): "compiled: a kernel takes its arrays one by one",
    ("src/hooke/kernels/cpu.py:_add_gradients", "parameters"): "compiled: a kernel takes its arrays one by one",
    ("src/hooke/kernels/cpu.py:_adam_rows", "parameters"): "compiled: a kernel takes its arrays one by one",
    ("src/hooke/kernels/cuda.py:_pick", "parameters"): "compiled: a kernel takes its arrays one by one",
    ("src/hooke/kernels/cuda.py:_decode", "parameters"): "compiled: a kernel takes its arrays one by one",
    ("src/hooke/kernels/cuda.py:_back", "parameters"): "compiled: a kernel takes its arrays one by one",
    ("src/hooke/kernels/cuda.py:_add", "parameters"): "compiled: a kernel takes its arrays one by one",
    ("src/hooke/kernels/cuda.py:_adam", "parameters"): "compiled: a kernel takes its arrays one by one",
    (
        "src/hooke/model/__init__.py:Model",
        "public methods",
    ): "four say what it is (hf, head, device, dtype), known before all of it is loaded",
    ("src/hooke/train/config.py:TrainConfig", "config fields"): "one flat table of keys, as people write them in a suite",
}


def sources() -> list[Path]:
    """The modules that ship, with the scripts beside them."""
    folders = ("src", "packs", "benchmarks", "docs")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def sizes(path: Path) -> Iterator[tuple[str, str, int]]:
    """Name, limit and size of everything in a module that has one."""
    name, text = path.relative_to(ROOT).as_posix(), path.read_text()
    yield name, "lines", len(text.splitlines())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}:{node.name}", "function lines", (node.end_lineno or node.lineno) - node.lineno + 1
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield f"{name}:{node.name}", "parameters", sum(arg.arg not in ("self", "cls") for arg in named)
        elif isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
            yield f"{name}:{node.name}", "public methods", sum(not item.name.startswith("_") for item in methods)
            if node.name.endswith("Config"):
                yield f"{name}:{node.name}", "config fields", sum(isinstance(item, ast.AnnAssign) for item in node.body)


def test_nothing_is_too_big():
    over = {(name, limit): size for path in sources() for name, limit, size in sizes(path) if size > MAX[limit]}
    bad = [f"{name}: {size} {limit}, at most {MAX[limit]}" for (name, limit), size in over.items() if (name, limit) not in EXCEPTIONS]
    assert not bad, "split along a noun, or add a reason to EXCEPTIONS:\n" + "\n".join(bad)
    unused = [key for key in EXCEPTIONS if key not in over]
    assert not unused, f"no longer needed, take them out of EXCEPTIONS: {unused}"
