"""How fast an atlas is read: features by id and searches of labels and texts, on an atlas of generated features; and what it weighs.

    python benchmarks/atlas_read.py [--features 262144] [--windows 15625] [--keep FILE]

Windows have 128 tokens of a vocabulary with Zipf's frequencies; a feature has 20 strongest examples, 10 from intervals of its range,
8 near misses, 20 tokens, 10 promoted and 10 suppressed ones, 10 neighbours and 10 that fire with it. Prints JSON lines; times are of
single calls in one process, the file in the system's cache: median and 95th percentile in milliseconds, and processor time beside them,
which a busy machine does not change.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from hooke.atlas import Atlas, AtlasWriter, Example, FeatureRecord, Label, SaeEntry, Score, TextWindow, TokenCount
from hooke.names import SaeName, Site

VOCABULARY, LENGTH, SAES = 100_000, 128, 4
_DIFFERENT = 2048
_LABEL_WORDS = 8000
KINDS = ("token", "word", "previous", "context", "pattern")


def words(n: int, rng: np.random.Generator) -> list[str]:
    """`n` words that can be said, the first the shortest, as frequent ones are."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    out: dict[str, None] = {}
    while len(out) < n:
        length = 1 + int(np.log(1 + len(out)) / 3) + int(rng.integers(0, 2))
        out["".join(syllables[i] for i in rng.integers(0, len(syllables), length))] = None
    return list(out)


class Made:
    """Generated text and features."""

    def __init__(self, windows: int, features: int) -> None:
        self.rng = np.random.default_rng(0)
        self.words = words(VOCABULARY, self.rng)
        weight = 1 / np.arange(1, VOCABULARY + 1)
        self.ids = self.rng.choice(VOCABULARY, (windows, LENGTH), p=weight / weight.sum())
        self.features = features
        self.known: list[FeatureRecord] = []
        # As in the labels of Gemma 3 270M's pack: the commonest word is in a tenth of them, half the words in fewer than 0.4 %.
        weight = 1 / (5 + np.arange(_LABEL_WORDS))
        self.named = self.rng.choice(_LABEL_WORDS, (features + 1, 4), p=weight / weight.sum())
        self.turn = 0

    def windows(self) -> Iterator[TextWindow]:
        return (TextWindow(i, "generated", i // 4, i % 4 * LENGTH, ids) for i, ids in enumerate(self.ids))

    def examples(self, n: int, largest: float) -> list[Example]:
        out = []
        for window, peak, more in zip(
            self.rng.integers(0, len(self.ids), n), self.rng.integers(0, LENGTH, n), self.rng.poisson(1.5, n), strict=True
        ):
            at = np.unique(np.append(self.rng.integers(max(0, peak - 16), min(LENGTH, peak + 16), more), peak))
            values = self.rng.random(len(at)) * largest / 2
            values[np.searchsorted(at, peak)] = largest * (1 - self.rng.random() / 3)
            out.append(Example(int(window), int(peak), at, values))
        return out

    def records(self, n: int) -> Iterator[FeatureRecord]:
        """Every feature has a label of its own; the rest comes again after a while, which the file cannot make use of."""
        for index in range(n):
            if len(self.known) < _DIFFERENT:
                self.known.append(self.record(index))
                yield self.known[-1]
            else:
                known = self.known[index % _DIFFERENT]
                yield replace(known, index=index, label=replace(known.label, text=self.name()))

    def name(self) -> str:
        self.turn += 1
        return ", ".join(self.words[i] for i in self.named[self.turn])

    def record(self, index: int) -> FeatureRecord:
        rng = self.rng
        largest, count = float(rng.lognormal(4, 1)), int(rng.lognormal(7, 1.5)) + 20
        tokens = rng.zipf(1.3, 40) % VOCABULARY
        shares = np.sort(rng.dirichlet(np.ones(20) / 3))[::-1]
        histogram = rng.multinomial(count, np.exp(-np.arange(50) / 8) / np.exp(-np.arange(50) / 8).sum())
        named = self.name()
        value = float(rng.beta(8, 3))
        kind = KINDS[index % len(KINDS)]
        rule = {"kind": kind, "words": [self.words[i] for i in tokens[:8]]}
        label = Label(
            named, kind, rule, Score(value, value - 0.02, value + 0.02, 100, 300), Score(value, value - 0.05, value + 0.05, 60, 60)
        )
        return FeatureRecord(
            index=index,
            count=count,
            density=count / 2e6,
            max=largest,
            mean=largest / 5,
            quantiles=np.sort(rng.random(5)) * largest,
            histogram=histogram,
            documents=count // 3,
            persistence=float(rng.random() / 20),
            commonest=float(shares[0]),
            purity=(float(shares[0]), float(shares[:5].sum()), 1.0),
            tokens=[TokenCount(int(t), int(count * s), float(s), float(3 * s)) for t, s in zip(tokens[:20], shares, strict=True)],
            top=self.examples(20, largest),
            intervals=[self.examples(2, largest * (i + 1) / 5) for i in range(5)],
            misses=[Example(e.window, e.peak, e.at[:0], e.values[:0]) for e in self.examples(8, 1.0)],
            promoted=[(int(t), float(v)) for t, v in zip(tokens[20:30], rng.random(10), strict=True)],
            suppressed=[(int(t), -float(v)) for t, v in zip(tokens[30:], rng.random(10), strict=True)],
            neighbours=[(int(i), float(v)) for i, v in zip(rng.integers(0, self.features // SAES, 10), rng.random(10), strict=True)],
            together=[(int(i), float(v)) for i, v in zip(rng.integers(0, self.features // SAES, 10), rng.random(10), strict=True)],
            label=label,
            output=Label(f"makes {named} likelier", "output"),
            background=np.sort(rng.integers(0, 4000, 8))[::-1],
            topics=rng.normal(size=18),
        )


def write(path: Path, made: Made) -> None:
    with AtlasWriter(path, {"model": "generated", "topics": [f"topic {i}" for i in range(18)], "tokens": made.ids.size}) as writer:
        writer.windows(made.windows())
        writer.pieces({i: f" {word}" for i, word in enumerate(made.words)})
        each = made.features // SAES
        for layer in range(SAES):
            name = str(SaeName("generated", Site(layer, "resid_post"), f"{each}"))
            writer.sae(SaeEntry(name, "", each, {}, np.zeros(640, np.float32)), made.records(each))
        writer.finish()


def timed(name: str, call: Callable[[int], object], times: int) -> None:
    call(0)
    wall, own = [], []
    for turn in range(times):
        start, began = time.perf_counter(), time.process_time()
        call(turn)
        wall.append(1e3 * (time.perf_counter() - start))
        own.append(1e3 * (time.process_time() - began))
    figures = {"median_ms": np.median(wall), "p95_ms": np.quantile(wall, 0.95), "processor_ms": np.median(own)}
    print(json.dumps({"what": name, "times": times} | {key: round(float(value), 3) for key, value in figures.items()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=262_144)
    parser.add_argument("--windows", type=int, default=15_625)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "atlas.sqlite"
        if not path.is_file():
            made, began = Made(options.windows, options.features), time.process_time()
            write(path, made)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            print(json.dumps({"what": "written", "processor_s": round(time.process_time() - began, 1), "peak_mib": peak}), flush=True)
        began = time.perf_counter()
        atlas = Atlas(path)
        opened = round(1e3 * (time.perf_counter() - began), 1)
        features = sum(entry.d_sae for entry in atlas.saes.values())
        size = path.stat().st_size
        print(
            json.dumps(
                {"what": "file", "bytes": size, "features": features, "bytes_per_feature": round(size / features), "open_ms": opened}
            )
        )
        read(atlas)


def read(atlas: Atlas) -> None:
    rng = np.random.default_rng(1)
    names, each = list(atlas.saes), next(iter(atlas.saes.values())).d_sae
    wanted = [f"{names[i % len(names)]}/{rng.integers(each)}" for i in range(500)]
    timed("a feature by id", lambda turn: atlas.feature(wanted[turn]), len(wanted))
    said = [feature.label.text.split(", ") for feature in map(atlas.feature, wanted[:100]) if feature.label]
    timed("labels, one word", lambda turn: atlas.search(said[turn][3], where=("label",)), 100)
    timed("labels, two words", lambda turn: atlas.search(f"{said[turn][2]} {said[turn][3]}", where=("label",)), 100)
    timed("labels, a beginning", lambda turn: atlas.search(f"{said[turn][3][:3]}*", where=("label",)), 100)
    timed("labels, outputs and texts", lambda turn: atlas.search(said[turn][3]), 30)
    timed("the list of the best labelled", lambda turn: atlas.search(), 10)
    timed("one SAE's table", lambda turn: atlas.table(names[0]), 5)


if __name__ == "__main__":
    main()
