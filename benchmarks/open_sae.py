"""Opening SAEs: a Gemma Scope `.npz` of 16k x 2,304 against reading its bytes, and a Gemma Scope 2 folder of the same size.

Each measurement is a process of its own; the files are in the page cache. Reports the best of three, and peak memory beyond the start.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

D_IN, D_SAE, TURNS = 2304, 16384, 3


def memory() -> int:
    """Peak resident bytes of this process so far."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10


def measure(what: str, path: Path, small: Path) -> None:
    """Print seconds and bytes of one way of opening `path`, as JSON; `small` is opened before, for what is imported on first use."""
    import torch

    from hooke.sae.formats import open_sae

    if what != "bytes":
        open_sae(small)
    Path("/proc/self/clear_refs").write_text("5")
    before, began = memory(), time.perf_counter()
    if what == "bytes":
        held = bytearray(path.stat().st_size)
        with path.open("rb") as file:
            file.readinto(held)
    else:
        held = open_sae(path)
    took = time.perf_counter() - began
    assert held is not None
    print(json.dumps({"seconds": took, "memory": memory() - before, "threads": torch.get_num_threads()}))


def main() -> None:
    """Write the files, measure, and print a table."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as base:
        files = {}
        for size, d_sae in (("large", D_SAE), ("small", 16)):
            g = torch.Generator().manual_seed(0)
            arrays = {"W_enc": torch.randn(D_IN, d_sae, generator=g), "W_dec": torch.randn(d_sae, D_IN, generator=g)}
            arrays |= {"b_enc": torch.zeros(d_sae), "b_dec": torch.zeros(D_IN), "threshold": torch.ones(d_sae)}
            folder = Path(base) / "gemma-scope-2b-pt-res" / size / "layer_20" / "width_16k" / "average_l0_71"
            folder.mkdir(parents=True)
            np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in arrays.items()})
            other = Path(base) / "gemma-scope-2-1b-pt" / size / "resid_post" / "layer_7_width_16k_l0_medium"
            other.mkdir(parents=True)
            save_file({name.replace("W_", "w_"): tensor for name, tensor in arrays.items()}, other / "params.safetensors")
            files[size] = {"npz": folder / "params.npz", "safetensors": other}
        report(files)


def report(files: dict[str, dict[str, Path]]) -> None:
    """Measure every way in turn, so that a slow moment falls on all of them."""
    rows = {"bytes of npz": ("bytes", files["large"]["npz"]), "open npz": ("npz", files["large"]["npz"])}
    rows["open safetensors"] = ("safetensors", files["large"]["safetensors"])
    found: dict[str, list[dict]] = {name: [] for name in rows}
    for _ in range(TURNS):
        for name, (what, path) in rows.items():
            small = files["small"].get(what, path)
            argv = [sys.executable, __file__, what, str(path), str(small)]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    size = files["large"]["npz"].stat().st_size
    base = min(row["seconds"] for row in found["bytes of npz"])
    for name, turns in found.items():
        seconds, peak = min(row["seconds"] for row in turns), max(row["memory"] for row in turns)
        print(f"{name:18} {seconds * 1e3:7.0f} ms = {seconds / base:4.2f} x bytes; memory {peak / size:4.2f} x the file")


if __name__ == "__main__":
    measure(sys.argv[1], *map(Path, sys.argv[2:])) if len(sys.argv) > 1 else main()
