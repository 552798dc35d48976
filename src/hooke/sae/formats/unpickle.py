"""The one place where a pickle may be opened: torch's own restricted loader, in a child process with limits and without a network.

Run as a program with an input and an output path it writes the plain tensors of the input, and its numbers and texts, as safetensors.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadFile
from hooke.files import read_safetensors, write_safetensors

_SECONDS = 300
_MEMORY_FACTOR, _MEMORY_FLOOR = 6, 8 << 30
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def unpickled(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the plain values of the dictionary in a `.pt` file; `BadFile` if torch refuses it or it is none."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "plain.safetensors"
        argv = [sys.executable, "-I", "-m", "hooke.sae.formats.unpickle", str(path.absolute()), str(target)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=folder)  # noqa: S603 (our own)
        except subprocess.TimeoutExpired as error:
            raise BadFile(f"{path}: torch did not read it within {_SECONDS} s.") from error
        if done.returncode != 0 or not target.is_file():
            said = (done.stderr.strip().splitlines() or ["it was stopped"])[-1][:300]
            raise BadFile(f"{path}: torch refuses to read it ({said}).")
        tensors, metadata = read_safetensors(target)
        return {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(metadata["plain"])


def _confine(size: int) -> None:
    """Limits on memory, time and files; no network where the system lets us give it up."""
    import ctypes
    import resource

    memory = max(_MEMORY_FLOOR, _MEMORY_FACTOR * size)
    for what, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, _SECONDS), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (limit, limit))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # refused in some containers; then limits are all


def _main(source: Path, target: Path) -> None:
    _confine(source.stat().st_size)
    found = torch.load(source, map_location="cpu", weights_only=True)
    if isinstance(found, dict) and isinstance(found.get("ae"), dict):
        found = found["ae"]
    if not isinstance(found, dict):
        raise SystemExit(f"it holds a {type(found).__name__} and no dictionary")
    tensors = {str(name): value.detach().clone() for name, value in found.items() if isinstance(value, Tensor)}
    plain = {str(name): value for name, value in found.items() if isinstance(value, str | int | float | bool | dict)}
    write_safetensors(target, tensors, {"plain": json.dumps(plain, default=lambda _: None)})


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
