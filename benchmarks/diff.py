"""Whether `hooke diff` keeps what it promises: null splits, coverage, a planted phrase, replication, time and memory.

    python benchmarks/diff.py FILE.jsonl.zst --by FIELD [--group A --group B] [--text title] [--n 500] [--family FIELD] [--runs 200]
    python benchmarks/diff.py                      # the coverage of intervals alone, which needs no texts

FILE has labelled texts; at most N of each group are read, once. Then, from what was read: how many differences one half of the texts
chooses and how many of these hold on the other (by the file's own groups); in how many of RUNS random splits of all texts, by texts and by
families, anything is listed at all; in how many of RUNS splits a phrase that was written into 5 % of one side is found, and stands first or
second; how often the intervals of RUNS draws (with replacement, 250 of each group) hold the difference in all texts; and in RUNS groups
that are made by any of so many words and by something hidden, which of the two is said to be beyond words. `--only` picks some of these,
`--keep FILE` writes down what each run gave and goes on from there. `--show` prints what `hooke diff` finds in these texts
instead (with `--pair FIELD`, in the first N pairs); `--speed` runs the whole command on all texts instead and says what it took; `--same`
runs it in batches of several sizes on several threads, and says whether the whole JSON and the whole page are the same to the byte.
"""

import argparse
import hashlib
import io
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import zstandard
from rich.console import Console
from scipy import sparse

from hooke.analysis import Options, Reader
from hooke.differences import compare
from hooke.differences.beyond import BeyondWords
from hooke.differences.grouping import Grouped, group, piles
from hooke.differences.items import items_of
from hooke.differences.reading import Pile, read_pile
from hooke.differences.statistics import clustered_difference, difference, paired_difference
from hooke.differences.testing import Listed, compare_items, halves, listed, replicate
from hooke.differences.words import count_words
from hooke.model import Model
from hooke.report.differences_terminal import print_differences
from hooke.text.intake import Record

PHRASE = "said the lighthouse keeper"
SHARE = 0.05
DRAWN = 250
EXPERIMENTS = ("replication", "null", "planted", "drawn", "beyond")


def interval(hits: int, n: int) -> str:
    from hooke.differences.statistics import wilson

    found = wilson(np.array([hits]), n)
    return f"{hits}/{n} = {hits / n:.3f} [{found.low[0]:.3f}, {found.high[0]:.3f}]"


def load(options: argparse.Namespace) -> list[Record]:
    """At most N different texts of each group, in the file's order."""
    kept: dict[str, dict[str, Record]] = defaultdict(dict)
    pairs: dict[str, int] = {}
    with zstandard.open(options.file, "rb") as raw:
        for line in io.TextIOWrapper(raw, "utf-8"):
            row = json.loads(line)
            label, text = row.get(options.by), (row.get(options.text) or "").strip()
            label = label[0] if isinstance(label, list) and len(label) == 1 else label
            wanted = isinstance(label, str) and text and (not options.group or label in options.group)
            if wanted and options.pair:
                wanted = pairs.setdefault(row[options.pair], len(pairs)) < options.n
            elif wanted:
                wanted = len(kept[label]) < options.n
            if wanted:
                kept[label].setdefault(text, Record.of(text, {**row, options.by: label}))
    return [text for own in kept.values() for text in own.values()]


def findings(pile: Pile, grouped: Grouped, seed: int) -> tuple[list[Listed], list]:
    """What is listed of every item, and the items."""
    counts, vocabulary = count_words(grouped.texts, 5)
    smallest = int(min(min(one.in_a.sum(), one.in_b.sum()) for one in grouped.comparisons))
    items = items_of(pile, counts, vocabulary, smallest)
    tested = compare_items(items.present, grouped, np.ones(len(grouped.texts), bool), seed=seed)
    return listed(tested), [items, tested]


def replication(pile: Pile, grouped: Grouped) -> None:
    counts, vocabulary = count_words(grouped.texts, 5)
    smallest = int(min(min(one.in_a.sum(), one.in_b.sum()) for one in grouped.comparisons))
    items = items_of(pile, counts, vocabulary, smallest)
    chosen, held = 0, 0
    for seed in range(10):
        found, _ = replicate(items.present, grouped, halves(grouped, seed), seed=seed)
        chosen, held = chosen + found.chosen, held + found.held
    names = ", ".join(f"{name} {int((grouped.group == i).sum())}" for i, name in enumerate(grouped.names))
    print(f"replication, 10 ways to halve ({names}): {held} of {chosen} chosen held: {held / max(1, chosen):.3f}")


class Kept:
    """What each run of each experiment gave, in a file if there is one, so that a long one goes on where it was stopped."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path and path.exists() else []
        self._known = {(row["what"], row["seed"]): row["gave"] for row in map(json.loads, lines)}

    def runs(self, what: str, runs: int, run: Callable[[int], list[float]]) -> np.ndarray:
        """What `run` gives for every seed from 0, a row a seed."""
        for seed in range(runs):
            if (what, seed) not in self._known:
                self._known[what, seed] = run(seed)
                if self._path:
                    with self._path.open("a") as file:
                        file.write(json.dumps({"what": what, "seed": seed, "gave": self._known[what, seed]}) + "\n")
        return np.array([self._known[what, seed] for seed in range(runs)], float)


def null_splits(pile: Pile, texts: list[Record], family: str | None, runs: int, kept: Kept) -> None:
    """Random halves of one group: texts, or whole families."""
    units = [str(text.fields.get(family)) if family else str(n) for n, text in enumerate(texts)]
    names = sorted(set(units))
    place = {text: n for n, text in enumerate(texts)}

    def run(seed: int) -> list[float]:
        side = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % 2, strict=True))
        rows = [Record.of(text, {"side": f"s{side[unit]}", "family": unit}) for text, unit in zip(texts, units, strict=True)]
        grouped = group(rows, "side", family="family" if family else None)
        judged, _ = findings(pile.take(np.array([place[text] for text in grouped.texts])), grouped, seed)
        return [float(any(own.clear.any() for own in judged)), float(any(own.listed.any() for own in judged))]

    what = f"{len(names)} families ({family})" if family else f"{len(texts)} texts"
    clear, listed_ = kept.runs(f"null splits of {what}", runs, run).sum(0).astype(int)
    print(f"null splits of {what} with anything listed: {interval(listed_, runs)}; with any q < 0.05: {interval(clear, runs)}", flush=True)


def planted(reader: Reader, pile: Pile, texts: list[Record], runs: int, kept: Kept) -> None:
    """A phrase at the end of 5 % of one side's texts; the other side's stay as they are."""
    altered = [f"{text} {PHRASE}" for text in texts]
    both, half, words = stacked(pile, read_pile(reader, altered)), len(texts) // 2, set(PHRASE.split())

    def run(seed: int) -> list[float]:
        order = np.random.default_rng(seed).permutation(len(texts))[: 2 * half]
        with_phrase = order[: round(SHARE * half)]
        rows = [Record.of(altered[n], {"side": "with"}) for n in with_phrase]
        rows += [Record.of(texts[n], {"side": "with" if i < half else "without"}) for i, n in enumerate(order) if i >= len(with_phrase)]
        own = both.take(np.concatenate([with_phrase + len(texts), order[len(with_phrase) :]]))
        grouped = group(rows, "side", groups=["with", "without"])
        (judged,), (items, (tested,)) = findings(own, grouped, seed)
        # The best by the end of the interval nearer to zero, as the command lists them.
        gap = difference(tested.a, tested.n_a, tested.b, tested.n_b)
        clear = np.where(judged.listed, np.maximum(gap.low, -gap.high), -1.0)
        best = [column for column in np.argsort(-clear, kind="stable")[:2].tolist() if clear[column] > -1]
        share = [np.isin(np.arange(len(with_phrase)), items.texts(column)).mean() for column in best]
        stands = [items.key[column] in words if items.kind[column] == "word" else s > 0.8 for column, s in zip(best, share, strict=True)]
        named = [items.kind.index("word") + i for i, key in enumerate(_words(items)) if key in words]
        return [float(judged.listed[named].any()), float(any(stands))]

    found, first = kept.runs(f"planted in {half} against {half}", runs, run).sum(0).astype(int)
    said = f"found {interval(found, runs)}, first or second {interval(first, runs)}"
    print(f"{PHRASE!r} in {SHARE:.0%} of {half} against {half}: {said}", flush=True)


def drawn(pile: Pile, grouped: Grouped, runs: int, kept: Kept) -> None:
    """Intervals of 250 texts of each of two groups, drawn with replacement, against the difference in all texts; also of what is listed."""
    counts, vocabulary = count_words(grouped.texts, 5)
    present = items_of(pile, counts, vocabulary, DRAWN).present.tocsr()
    rows = [np.flatnonzero(grouped.group == i) for i in (0, 1)]
    truth = np.asarray(present[rows[0]].mean(0) - present[rows[1]].mean(0)).ravel()
    own = group(piles([[f"text {i} {n}" for n in range(DRAWN)] for i in (0, 1)], ["a", "b"], "side"), "side")

    def run(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        drawn = present[np.concatenate([rng.choice(of, DRAWN) for of in rows])].tocsc()
        tested = compare_items(drawn, own, np.ones(2 * DRAWN, bool), seed=seed)
        gap, shown = difference(tested[0].a, DRAWN, tested[0].b, DRAWN), listed(tested)[0].listed
        holds = (gap.low <= truth) & (truth <= gap.high)
        signs = np.sign(gap.value[shown]) == np.sign(truth[shown])
        return [float(n) for n in (holds.sum(), len(holds), holds[shown].sum(), shown.sum(), signs.sum())]

    sums = kept.runs(f"intervals of {DRAWN} of {[len(of) for of in rows]} texts", runs, run).sum(0).astype(int)
    print(f"intervals of {DRAWN} and {DRAWN} texts hold the difference in all: {interval(sums[0], sums[1])}")
    print(f"  of what is listed: {interval(sums[2], sums[3])}; same sign {interval(sums[4], sums[3])}", flush=True)


def beyond(texts: list[Record], words: int, runs: int, kept: Kept) -> None:
    """Groups made by any of so many words and, as strongly, by something hidden: which of the two is called beyond words.

    The first is no more than words, told with an error in 50; the second no word tells.
    """
    counts, _ = count_words(texts, 5)
    has = (counts > 0).tocsc()
    share = np.asarray(has.mean(0)).ravel()
    # Words that together stand in a quarter to half of the texts, none of them in many.
    usable = np.flatnonzero((share >= 0.1 / words) & (share <= 1.6 / words))

    def run(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        spelt = np.asarray(has[:, rng.choice(usable, words, replace=False)].sum(1)).ravel() > 0
        hidden = rng.random(len(texts)) < spelt.mean()
        in_a = rng.random(len(texts)) < 0.35 + 0.3 * spelt + 0.3 * hidden
        items = np.column_stack([spelt, spelt ^ (rng.random(len(texts)) < 0.02), hidden]).astype(float)
        more = np.ones(3, bool)
        said = BeyondWords(texts, np.ones(len(texts), bool), seed).says_more(sparse.csc_matrix(items), in_a, more, np.arange(len(texts)))
        return [*map(float, said), float(spelt.mean())]

    gave = kept.runs(f"beyond, {words} words, {len(texts)} texts", runs, run)
    exact, noisy, found = gave[:, :3].sum(0).astype(int)
    print(f"groups made by any of {words} words (in {gave[:, 3].mean():.0%} of {len(texts)} texts) and by something hidden. Beyond words:")
    print(f"  the hidden {interval(found, runs)}, the words {interval(exact, runs)}, with errors {interval(noisy, runs)}", flush=True)


def _words(items) -> list[str]:
    return [key for key, kind in zip(items.key, items.kind, strict=True) if kind == "word"]


def stacked(one: Pile, other: Pile) -> Pile:
    """Both, one after the other."""
    both = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in ("peak", "inside", "strongest", "count")}
    return Pile(
        **both,
        value=sparse.vstack([one.value, other.value], format="csr"),
        place=[np.concatenate(pair) for pair in zip(one.place, other.place, strict=True)],
        topic=[*one.topic, *other.topic],
        tokens=np.concatenate([one.tokens, other.tokens]),
        acts=np.concatenate([one.acts, other.acts]),
        offsets=one.offsets,
    )


def coverage(runs: int = 4000) -> None:
    """How often the three intervals hold the truth; families of 2 to 11 texts that agree more than chance (beta-binomial)."""
    rng = np.random.default_rng(0)
    for n_a, n_b, p_a, p_b in ((500, 500, 0.3, 0.2), (250, 60, 0.05, 0.15), (40, 40, 0.5, 0.1)):
        found = difference(rng.binomial(n_a, p_a, runs), n_a, rng.binomial(n_b, p_b, runs), n_b)
        inside = int(((found.low <= p_a - p_b) & (p_a - p_b <= found.high)).sum())
        print(f"coverage, {n_a} and {n_b} texts, shares {p_a} and {p_b}: {interval(inside, runs)}")
    for families in (12, 40):
        inside = 0
        for _ in range(runs // 4):
            sizes = [rng.integers(2, 12, families) for _ in range(2)]
            a, b = (rng.binomial(n, rng.beta(3 * p, 3 * (1 - p), families))[:, None] for n, p in zip(sizes, (0.4, 0.2), strict=True))
            found = clustered_difference(a, sizes[0], b, sizes[1])
            inside += bool(found.low[0] <= 0.2 <= found.high[0])
        print(f"coverage, {families} families a group, shares 0.4 and 0.2: {interval(inside, runs // 4)}")
    inside = 0
    for _ in range(runs // 4):
        up, down, _ = rng.multinomial(150, [0.2, 0.1, 0.7])
        found = paired_difference(np.array([up]), np.array([down]), 150)
        inside += bool(found.low[0] <= 0.1 <= found.high[0])
    print(f"coverage, 150 pairs, 20 % and 10 % differ either way: {interval(inside, runs // 4)}", flush=True)


def show(reader: Reader, texts: list[Record], options: argparse.Namespace) -> None:
    found = compare(reader, group(texts, options.by, groups=options.group, family=options.family, pair=options.pair))
    print_differences(found, Console(width=160), 6)


def speed(reader: Reader, texts: list[Record], by: str) -> None:
    from hooke.report.differences import page

    start, used = time.perf_counter(), time.process_time()
    found = compare(reader, group(texts, by))
    size = len(page(found))
    wall, cpu = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(texts)} texts, {len(found.findings)} findings, page of {size / 1e6:.1f} MB")
    print(f"{wall:.0f} s, {cpu:.0f} s of processor, peak {peak:.2f} GiB")


def same(texts: list[Record], by: str) -> None:
    from hooke.report.differences import page

    model, grouped, digests = Model.load("gemma-3-270m"), group(texts, by), set()
    for chunk, batch_tokens, threads in ((512, 1024, 1), (7, 256, 1), (64, 4096, 2), (300, 512, 4)):
        torch.set_num_threads(threads)
        found = compare(Reader.load(model, [], Options(chunk=chunk, batch_tokens=batch_tokens)), grouped)
        whole = json.dumps(found.to_json()) + page(found)
        digests.add(hashlib.sha256(whole.encode()).hexdigest())
        how = f"chunks of {chunk}, batches of {batch_tokens} tokens, {threads} threads"
        print(f"{how}: {len(found.findings)} findings, {len(whole):,} characters", flush=True)
    print("the same bytes" if len(digests) == 1 else f"{len(digests)} different results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--by", default="category")
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--text", default="text")
    parser.add_argument("--family")
    parser.add_argument("--pair")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--same", action="store_true")
    parser.add_argument("--only", choices=EXPERIMENTS, action="append", default=[])
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.file is None:
        coverage()
        return
    texts, kept = load(options), Kept(options.keep)
    if "beyond" in (wanted := options.only or EXPERIMENTS[:-1]):
        for words in (1, 4, 16):
            beyond(texts[: 2 * options.n], words, options.runs, kept)
    if wanted == ["beyond"]:
        return
    if options.same:
        same(texts, options.by)
        return
    reader = Reader.load("gemma-3-270m", [], Options(chunk=512))
    if options.show:
        show(reader, texts, options)
    elif options.speed:
        speed(reader, texts, options.by)
    else:
        measure(reader, texts, wanted, options, kept)


def measure(reader: Reader, texts: list[Record], wanted: Sequence[str], options: argparse.Namespace, kept: Kept) -> None:
    grouped = group(texts, options.by)
    pile = read_pile(reader, grouped.texts)
    if "replication" in wanted:
        replication(pile, grouped)
    if "drawn" in wanted:
        drawn(pile, grouped, options.runs, kept)
    of = {str(text): text for text in texts}
    everyone = [of[text] for text in grouped.texts]
    if "null" in wanted:
        null_splits(pile, everyone, None, options.runs, kept)
        if options.family:
            null_splits(pile, everyone, options.family, options.runs, kept)
    if "planted" in wanted:
        planted(reader, pile, everyone, options.runs, kept)


if __name__ == "__main__":
    main()
