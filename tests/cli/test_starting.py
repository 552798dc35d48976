"""What commands load before they answer: those that compute nothing do without torch, and so does every refusal of a mistyped SAE."""

import json
import os
import subprocess
import sys
from pathlib import Path

from hooke.errors import UnknownName

HEAVY = ["torch", "transformers", "numba", "scipy"]
PACK, TYPO = "gemma-3-270m/resid_post.12/8k", "gemma-3-270m/resid_post.12/9k"
LIGHT = [
    ["saes"],
    ["saes", "--model", "gemma-2-2b", "--json"],
    ["inspect", PACK],
    ["inspect", PACK, "--json"],
    ["feature", f"{PACK}/17"],
    ["feature", "12/17", "--json"],
    ["search", "weather"],
    ["notes"],
    ["explain", "--help"],
    ["train", "--help"],
]
NOWHERE = [
    ["analyze", "a text", "--model", "nothing"],
    ["eval", PACK, "--corpus", "nowhere.jsonl"],
]
REFUSED = [
    ["analyze", "a text", "--sae", TYPO],
    ["topics", "a text", "--sae", TYPO],
    ["eval", PACK, TYPO, "--corpus", "x.jsonl"],
    ["finetune", TYPO, "--corpus", "x.jsonl", "--tokens", "100", "--out", "x.safetensors"],
    ["atlas", "build", TYPO, "--corpus", "x.jsonl"],
    ["atlas", "export", "x", "--sae", TYPO],
    ["convert", TYPO, "x.safetensors"],
    ["explain", TYPO, "--batch-out", "x.jsonl"],
    ["inspect", TYPO],
    ["pull", TYPO],
    ["search", "weather", "--sae", TYPO],
    ["serve", "--no-open", "--sae", TYPO],
    ["steer", f"{TYPO}/17", "--prompt", "a"],
    ["feature", f"{TYPO}/17"],
    ["ablate", f"{TYPO}/17", "a text"],
    ["attribute", "a text", "--sae", TYPO],
    ["atlas", "effects", TYPO],
    ["diff", "a.jsonl", "b.jsonl", "--sae", TYPO],
    ["monitor", "make", "x.jsonl", "--by", "desk", "--kind", "sport", "--out", "x.json", "--sae", TYPO],
]
SCRIPT = """
import contextlib, io, json, sys, commands

calls, heavy = map(json.loads, sys.argv[1:])

def ran(arguments):
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.redirect_stderr(io.StringIO()) as said:
        code = commands.main(arguments)
    return code, said.getvalue(), [name for name in heavy if name in sys.modules]

print(json.dumps([ran(arguments) for arguments in calls]))
"""


def ran(calls: list[list[str]], folder: Path) -> list[tuple[int, str, list[str]]]:
    """Exit code, talk, and which heavy packages are loaded after each of `calls`, made one after another in one fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(calls), json.dumps(HEAVY)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_commands_that_compute_nothing_load_nothing_that_computes(tmp_path: Path) -> None:
    for call, (code, said, loaded) in zip(LIGHT, ran(LIGHT, tmp_path), strict=True):
        assert (code, loaded) == (0, []), (call, said)


def test_what_is_nowhere_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    for call, (code, said, loaded) in zip(NOWHERE, ran(NOWHERE, tmp_path), strict=True):
        assert (code, loaded) == (UnknownName.exit_code, []), (call, said)


def test_a_mistyped_sae_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    for call, (code, said, loaded) in zip(REFUSED, ran(REFUSED, tmp_path), strict=True):
        assert (code, loaded) == (UnknownName.exit_code, []), (call, said)
        assert f"unknown SAE '{TYPO}'" in said
        assert PACK in said
