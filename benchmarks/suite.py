"""Eight SAEs from one stream beside one at a time: live from the model, forward passes and all.

    python benchmarks/suite.py [CORPUS.jsonl.zst] [--tokens 32768]

Without a corpus, Python's own library is read. Prints a JSON line for each run, then the ratio of the suite's time to eight single runs'.
"""

import argparse
import json
import sysconfig
import tempfile
import time
from pathlib import Path

from hooke.harvest.stream import LiveStream
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import Corpus, windows
from hooke.train import InMemory, TrainConfig, train

SITE, BATCH, SUITE = Site(9, "resid_post"), 1024, 8


def library(folder: Path) -> Path:
    """Python's own library as a corpus."""
    file = folder / "library.jsonl"
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts if text.strip()))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--tokens", type=int, default=32_768)
    options = parser.parse_args()
    model = Model.load()
    with tempfile.TemporaryDirectory() as folder:
        corpus = [Corpus("text", options.corpus or library(Path(folder)))]
        tokens = options.tokens // BATCH * BATCH
        live = LiveStream(model, lambda: windows(corpus, model.tokenizer, length=128, seed=0), [SITE], capacity=tokens, batch=BATCH)
        some = next(LiveStream(model, live.make_windows, [SITE], capacity=4096, batch=4096).batches()).acts
        train({f"b/{SITE}/w": TrainConfig(steps=2)}, InMemory(some, BATCH), some, model="b", context=128)  # compiles
        seconds = {}
        for count in (1, SUITE, 1):
            configs = {f"b/{SITE}/{seed}": TrainConfig(steps=tokens // BATCH, seed=seed) for seed in range(count)}
            began = time.perf_counter()
            train(configs, live, some, model="b", context=128)
            seconds.setdefault(count, []).append(time.perf_counter() - began)
            print(json.dumps({"saes": count, "tokens": tokens, "seconds": round(seconds[count][-1], 2)}), flush=True)
    single = sum(seconds[1]) / len(seconds[1])
    print(f"\nA suite of {SUITE}: {seconds[SUITE][0]:.1f} s, {seconds[SUITE][0] / (SUITE * single):.2f} of {SUITE} single runs' time.")


if __name__ == "__main__":
    main()
