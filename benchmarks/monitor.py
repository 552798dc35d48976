"""What a monitor costs beside the model's own pass, and whether one can be made that knows false statements from true ones.

    python benchmarks/monitor.py cost FILE.jsonl.zst [--text title] [--n 500] [--turns 3] [--at-once 32]
    python benchmarks/monitor.py truth

`cost` makes a monitor that tells long texts from short ones, reads N texts with it as `hooke monitor run` does, and takes the processor
time of the model's pass within and of all else but splitting texts into tokens, in turns, on one thread; apart from these what is done
once before the first text, the digest of the SAE's weights. `truth` makes a monitor from true and false statements on some
topics (`examples/truth`), and tries it on statements on the same topics that had no part in it, and on other topics; beside features and
probe stand TF-IDF with a logistic regression on words and word pairs, and how much each statement surprises the model.
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import zstandard

import hooke.monitors
from hooke.analysis import Options, Reader
from hooke.differences.grouping import group
from hooke.differences.statistics import auc
from hooke.monitors import Drift, make_monitor, watch
from hooke.text.intake import Record

TRUTH = Path(__file__).resolve().parent.parent / "examples" / "truth"


def cost(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    texts: list[str] = []
    with zstandard.open(options.file, "rb") as raw:
        for line in io.TextIOWrapper(raw, "utf-8"):
            if text := (json.loads(line).get(options.text) or "").strip():
                texts.append(text)
            if len(texts) == options.n:
                break
    reader = Reader.load("gemma-3-270m", [], Options(chunk=options.at_once))
    middle = median(len(text) for text in texts)
    grouped = group([Record.of(text, {"kind": "long" if len(text) > middle else "short"}) for text in dict.fromkeys(texts)], "kind")
    monitor = make_monitor(reader, grouped, "long")
    spent = dict.fromkeys(("pass", "tokens", "once"), 0.0)
    measured(reader.model, "capture", spent, "pass")
    measured(reader.model.tokenizer, "encode", spent, "tokens")
    measured(hooke.monitors, "digest", spent, "once")
    rows = []
    for _ in range(options.turns):
        spent.update(dict.fromkeys(spent, 0.0))
        start = time.process_time()
        for _ in watch(reader, monitor, texts, Drift(monitor)):
            pass
        rows.append((spent["pass"], time.process_time() - start - sum(spent.values())))
    print(f"{len(texts)} texts, {options.at_once} at once; once before them {spent['once']:.3f} s")
    print("; ".join(f"pass {one:.2f} s, all else {other:.3f} s ({other / one:.1%})" for one, other in rows))


def measured(owner: object, name: str, spent: dict[str, float], what: str) -> None:
    """Have the processor time of a method counted."""
    method = getattr(owner, name)

    def timed(*args: object, **options: object) -> object:
        start = time.process_time()
        try:
            return method(*args, **options)
        finally:
            spent[what] += time.process_time() - start

    setattr(owner, name, timed)


def truth() -> None:
    sys.path.insert(0, str(TRUTH))
    from statements import statements

    taught, asked = ([Record.of(row.pop("text"), row) for row in statements(part)] for part in ("teach", "try"))
    reader = Reader.load("gemma-3-270m", [], Options())
    monitor = make_monitor(reader, group(taught, "truth"), "false", rate=0.1)
    print(f"{len(taught)} statements to learn from; on a quarter of them that had no part in it:")
    for scorer in monitor.scorers:
        print(f"  {scorer.name}: AUC {said(scorer.figures['auc'])}, caught {said(scorer.figures['caught'])}")
    print(f"  plain words: AUC {said(monitor.words_auc)}")
    print("  features: " + "; ".join(str(reader.labelled_saes[0].named(column)["name"]) for column in monitor.scorers[0].columns))
    raised = list(watch(reader, monitor, asked, Drift(monitor)))
    false = np.array([text.fields["truth"] == "false" for text in asked])
    print(f"{len(asked)} statements on other topics:")
    for scorer in monitor.scorers:
        alarm = np.array([one.alarm[scorer.name] for one in raised])
        found = auc(np.array([one.score[scorer.name] for one in raised]), false)
        print(f"  {scorer.name}: {area(found)}; false alarms {alarm[~false].mean():.0%}, caught {alarm[false].mean():.0%}")
    print(f"  TF-IDF: {area(auc(tf_idf(taught, asked), false))}")
    surprise = np.array([float(reader.model.loss(str(text)).mean()) for text in asked])
    print(f"  the model's surprise, nothing learnt: {area(auc(surprise, false))}")
    for topic in dict.fromkeys(text.fields["topic"] for text in asked):
        own = np.array([text.fields["topic"] == topic for text in asked])
        probe = np.array([one.score["probe"] for one in raised])
        print(f"    {topic}: probe {auc(probe[own], false[own]).value:.2f}, surprise {auc(surprise[own], false[own]).value:.2f}")


def tf_idf(taught: list[Record], asked: list[Record]) -> np.ndarray:
    """How false each asked statement is by its words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression())
    model.fit([str(text) for text in taught], [text.fields["truth"] == "false" for text in taught])
    return model.decision_function([str(text) for text in asked])


def said(figure: list[float]) -> str:
    return f"{figure[0]:.2f} [{figure[1]:.2f}, {figure[2]:.2f}]"


def area(found) -> str:
    return f"AUC {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "truth"))
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--text", default="text")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=32)
    options = parser.parse_args()
    if options.what == "truth":
        truth()
    elif options.file is None:
        parser.error("cost needs a FILE of texts")
    else:
        cost(options)


if __name__ == "__main__":
    main()
