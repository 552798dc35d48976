"""Headlines per second of `hooke.analysis.Reader`, and the share of its processor time that the model's own forward pass takes.

    python benchmarks/analyze.py [TITLES.txt] [--n 1000] [--repeat 3] [--sae gemma-3-270m/resid_post.12/8k] \\
        [--peer PYTHON SCRIPT MODEL_DIR LAYER D_IN D_SAE]

Reads `n` lines of TITLES.txt (without it: examples/headlines.txt, over and over). One JSON line per run. With --peer, another tool's
script (called as ``PYTHON SCRIPT MODEL_DIR TITLES LAYER D_IN D_SAE N``, printing one JSON line with ``headlines_per_s``) runs in turn
with ours, and a last line gives the ratio of the medians.
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hooke.analysis import Options, Reader


def ours(titles: list[str], sae: str | None) -> dict[str, Any]:
    began = time.perf_counter()
    reader = Reader.load("gemma-3-270m", [sae] if sae else [], Options(chunk=len(titles)))
    load = time.perf_counter() - began
    forward = 0.0
    capture = reader.model.capture

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal forward
        start = time.process_time()
        found = capture(*args, **kwargs)
        forward += time.process_time() - start
        return found

    list(reader.read(titles[:16]))
    reader.model.capture = timed
    began, busy = time.perf_counter(), time.process_time()
    list(reader.read(titles))
    wall, busy = time.perf_counter() - began, time.process_time() - busy
    return {
        "tool": "hooke",
        "load_s": round(load, 1),
        "headlines_per_s": round(len(titles) / wall, 2),
        "forward_share": round(forward / busy, 3),
        "beside_it_s": round(busy - forward, 2),
        "d_sae": reader.labelled_saes[0].sae.d_sae,
        "n": len(titles),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "threads": torch.get_num_threads(),
    }


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(line), flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("titles", type=Path, nargs="?", default=Path(__file__).parent.parent / "examples" / "headlines.txt")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sae")
    parser.add_argument("--peer", nargs=6)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        lines = [line.strip() for line in options.titles.read_text().splitlines() if line.strip()]
        print(json.dumps(ours(list(itertools.islice(itertools.cycle(lines), options.n)), options.sae)))
        return
    mine, theirs = [], []
    for _ in range(options.repeat):
        command = [sys.executable, __file__, str(options.titles), "--n", str(options.n), "--once"]
        mine.append(run(command + (["--sae", options.sae] if options.sae else []))["headlines_per_s"])
        if options.peer:
            python, script, folder, layer, d_in, d_sae = options.peer
            found = run([python, script, folder, str(options.titles), layer, d_in, d_sae, str(options.n)])["headlines_per_s"]
            theirs.append(max(found.values()) if isinstance(found, dict) else found)
    if theirs:
        ours_median, peer_median = statistics.median(mine), statistics.median(theirs)
        print(json.dumps({"ours": ours_median, "peer_best": peer_median, "ratio": round(ours_median / peer_median, 2)}))


if __name__ == "__main__":
    main()
