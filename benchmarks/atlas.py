"""Time, memory and disk of building an atlas, against the bare forward pass over the same windows to the highest site.

    python benchmarks/atlas.py CORPUS.jsonl.zst ... [--tokens 40000 80000] [--sae NAME ...] [--out FOLDER]

One JSON line a number of tokens, each measured in a process of its own: seconds of the bare pass (the model cut off after the highest
layer, ready-made batches; of many tokens 400,000 are read, half of them before and half after, as machines change their pace), of the
reading pass (model, codes, spool) and of everything after it by stage, the peak memory (of this process and those it split off, what they
share counted once), and the file's bytes a feature. With --cpu the seconds are those of all threads together, for machines that do other
things too. The last line gives, from the two longest, what each costs for a token more and what stays the same, and from these the whole
for 2,000,000 tokens.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from harvest import bare

from hooke.builder import AtlasSettings, build_atlas, work_folder
from hooke.model import Model
from hooke.sae import Sae
from hooke.sae.packs import installed_saes
from hooke.text.corpus import Corpus, Window, parse_corpora, windows

GOAL, MOST_BARE = 2_000_000, 400_000
CONTEXT = 128
CLOCK = time.process_time if "--cpu" in sys.argv else time.perf_counter


def saes_of(options: argparse.Namespace) -> list[Sae]:
    return [Sae.from_pretrained(name) for name in options.sae] or [Sae.load(row.path) for row in installed_saes()]


def texts_of(corpora: list[Corpus], model: Model, tokens: int) -> list[Window]:
    found, n = [], 0
    for window in windows(corpora, model.tokenizer, length=CONTEXT, seed=0):
        found.append(window)
        n += len(window.ids) - 1
        if n >= tokens:
            break
    return found


class Memory:
    """The most memory that this process and its children held at a time, looked at every few seconds."""

    def __init__(self) -> None:
        self.most, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.most = max(self.most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

    def _watch(self) -> None:
        while not self._over.wait(3):
            held = 0
            for own in ("self", *Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
                with contextlib.suppress(OSError):  # it has ended
                    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{own}/smaps_rollup").read_text(), re.MULTILINE)
                    held += int(found[1]) * 1024 if found else 0
            self.most = max(self.most, held)


def bare_seconds(model: Model, texts: list[Window], layer: int) -> float:
    """Batches of equal length, as the model likes them best: windows are run together and cut anew."""
    ids = list(itertools.chain.from_iterable(window.ids for window in texts))
    rows = [Window("", 0, ids[at : at + CONTEXT]) for at in range(0, len(ids) - CONTEXT, CONTEXT)]
    bare(model, rows[:32], layer)
    began = CLOCK()
    bare(model, rows, layer)
    return CLOCK() - began


def measured(options: argparse.Namespace) -> dict[str, Any]:
    model, tokens = Model.load("gemma-3-270m"), options.tokens[0]
    saes = saes_of(options)
    corpora = parse_corpora(options.corpus)
    seconds: dict[str, float] = defaultdict(float)
    spooled, stage, began = 0, "start", CLOCK()
    path = Path(options.out or tempfile.mkdtemp()) / f"atlas-{tokens}.sqlite"

    def report(name: str, done: int, total: int) -> None:
        nonlocal stage, began, spooled
        if name != stage:
            now = CLOCK()
            seconds[stage] += now - began
            stage, began = name, now
            spooled = max(spooled, sum(file.stat().st_size for file in work_folder(path).glob("*")))

    with Memory() as memory:
        build_atlas(model, saes, corpora, path, AtlasSettings(tokens, CONTEXT, epochs=8), progress=report)
    report("end", 0, 0)
    total, features = sum(seconds.values()), sum(sae.d_sae for sae in saes)
    return {
        "tokens": tokens,
        "total_s": round(total, 2),
        "stages_s": {name: round(value, 2) for name, value in seconds.items()},
        "peak_memory": memory.most,
        "spool_bytes": spooled,
        "file_bytes": path.stat().st_size,
        "bytes_a_feature": round(path.stat().st_size / features, 1),
    }


def bare_part(options: argparse.Namespace) -> float:
    """Seconds of the bare pass over the first or second half of what is read of it."""
    model = Model.load("gemma-3-270m")
    saes = saes_of(options)
    texts = texts_of(parse_corpora(options.corpus), model, min(options.tokens[0], MOST_BARE))
    half = len(texts) // 2
    own = texts[:half] if options.part == "first" else texts[half:]
    return bare_seconds(model, own, max(sae.site.layer for sae in saes)) * max(1, options.tokens[0] / MOST_BARE)


def slopes(short: dict[str, Any], long: dict[str, Any]) -> dict[str, Any]:
    """The straight line through two measurements, carried on to `GOAL`."""
    more = long["tokens"] - short["tokens"]
    out: dict[str, Any] = {"goal": GOAL}
    for name in ("bare_s", "total_s", "peak_memory", "spool_bytes", "bytes_a_feature"):
        slope = (long[name] - short[name]) / more
        at_goal = long[name] + slope * (GOAL - long["tokens"])
        out[name] = {"for_a_token": slope, "fixed": long[name] - slope * long["tokens"], "at_goal": at_goal}
    return out | {"times_bare": out["total_s"]["at_goal"] / out["bare_s"]["at_goal"]}


def _in_a_process(options: argparse.Namespace, tokens: int, part: str) -> Any:
    """What `part` gives for so many tokens, from a process of its own."""
    again = [sys.executable, __file__, *options.corpus, "--tokens", str(tokens), "--part", part, *["--cpu"][: options.cpu]]
    again += [*(["--out", options.out] if options.out else []), *(["--sae", *options.sae] if options.sae else [])]
    done = subprocess.run(again, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--tokens", type=int, nargs="+", default=[40_000, 80_000])
    parser.add_argument("--sae", nargs="*", default=[])
    parser.add_argument("--out")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--part", choices=("first", "atlas", "second"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        print(json.dumps(measured(options) if options.part == "atlas" else bare_part(options)), flush=True)
        return
    rows = []
    for tokens in sorted(options.tokens):
        before, own, after = (_in_a_process(options, tokens, part) for part in ("first", "atlas", "second"))
        bare_s = round(before + after, 2)
        rows.append({"threads": torch.get_num_threads(), "bare_s": bare_s, "times_bare": round(own["total_s"] / bare_s, 3)} | own)
        print(json.dumps(rows[-1]), flush=True)
    if len(rows) > 1:
        print(json.dumps(slopes(*rows[-2:])))


if __name__ == "__main__":
    main()
