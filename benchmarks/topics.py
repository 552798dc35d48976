"""Topic assignment against human categories, beside baselines that saw the same examples.

    python benchmarks/topics.py bbc-news-dev.jsonl.zst [--sae NAME ...] [--n 1118]

Reads titles only. Everything is trained on the headlines written for the topics (`topics.toml` and `headlines.toml` in `hooke`), nothing on
the data set: ours through SAE features, TF-IDF with logistic regression on their words, the same on the residual stream's mean.
"supervised" rows are trained on half of the data set itself and tested on the other half, to show what the categories allow. Intervals
are 95 % bootstrap.
"""

import argparse
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import zstandard
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hooke.analysis import Options, Reader
from hooke.harvest import harvest
from hooke.sae.packs import default_sae
from hooke.text.corpus import Window
from hooke.topics import NONE, further_headlines, load_topics

# Which of the news industry's topics each category of the data set covers.
CATEGORIES = {
    "business": ("economy, business and finance", "labour"),
    "entertainment": ("arts, culture, entertainment and media", "human interest", "lifestyle and leisure"),
    "politics": ("politics and government", "society", "education", "crime, law and justice", "health", "conflict, war and peace"),
    "sport": ("sport",),
    "tech": ("science and technology",),
}
OF_TOPIC = {topic: category for category, topics in CATEGORIES.items() for topic in topics}


def interval(right: np.ndarray) -> str:
    rng = np.random.default_rng(0)
    means = [rng.choice(right, len(right)).mean() for _ in range(1000)]
    return f"{right.mean():.3f} [{np.quantile(means, 0.025):.3f}, {np.quantile(means, 0.975):.3f}]"


def pooled(reader: Reader, texts: list[str]) -> np.ndarray:
    """Mean of the residual stream over each text's tokens."""
    site = reader.labelled_saes[0].sae.site
    own = [Window("", i, ids) for i, ids in enumerate(reader.model.tokenizer.encode(texts))]
    out = np.zeros((len(texts), reader.labelled_saes[0].sae.d_in), np.float32)
    for part in harvest(reader.model, own, [site], drop_sinks=False):
        for i, window in enumerate(part.windows):
            out[window.doc] = part.acts[site][part.window == i].float().mean(0).numpy()
    return out


def best_category(scores: dict[str, float]) -> str:
    """The category whose best topic scores most."""
    known = {topic: score for topic, score in scores.items() if topic in OF_TOPIC}
    return OF_TOPIC[max(known, key=lambda topic: known[topic])] if known else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--sae", action="append", default=[])
    parser.add_argument("--n", type=int, default=10**9)
    options = parser.parse_args()
    if options.file is None:
        print("needs a labelled data set: JSON Lines (.zst) with title and category, the categories being", ", ".join(CATEGORIES))
        return
    with zstandard.open(options.file, "rb") as raw:
        rows = [json.loads(line) for line in io.TextIOWrapper(raw, "utf-8")]
    rows = [row for row in rows if row["title"]][: options.n]
    titles, truth = [row["title"] for row in rows], np.array([row["category"] for row in rows])
    reader = Reader.load("gemma-3-270m", options.sae or [default_sae("gemma-3-270m")], Options())
    found = list(reader.read(titles))
    table: list[tuple[str, np.ndarray]] = []
    majority = Counter(truth).most_common(1)[0][0]
    table.append(("majority category", truth == majority))
    ours = np.array([best_category({score.topic: score.score for score in text.topics}) for text in found])
    table.append(("SAE features, best topic", ours == truth))
    strict = np.array([OF_TOPIC.get(text.topic or "", "none") for text in found])
    assigned = np.array([text.topic is not None for text in found])
    topics, none = load_topics()
    examples = [text for topic in topics for text in topic.examples] + list(none)
    names = [*(topic.name for topic in topics), NONE]
    further = further_headlines(10**9)
    examples += [text for text, _ in further]
    labels = np.array([topic.name for topic in topics for _ in topic.examples] + [NONE] * len(none) + [names[i] for _, i in further])
    tfidf = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=2000))
    residual = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=2000))
    states, own_states = pooled(reader, titles), pooled(reader, examples)
    for name, model, train, test in (("TF-IDF", tfidf, examples, titles), ("residual mean", residual, own_states, states)):
        model.fit(train, labels)
        likely = model.predict_proba(test)
        guess = np.array([best_category(dict(zip(model.classes_, row, strict=True))) for row in likely])
        table.append((f"{name}, same examples", guess == truth))
    half = np.arange(len(truth)) % 2 == 0
    for name, model, data in (("TF-IDF", tfidf, np.array(titles)), ("residual mean", residual, states)):
        model.fit(data[half], truth[half])
        table.append((f"{name}, supervised on half", model.predict(data[~half]) == truth[~half]))
    print(f"{len(titles)} titles, SAEs {', '.join(labelled.sae.name for labelled in reader.labelled_saes)}")
    for name, right in table:
        print(f"{name:36s} {interval(right.astype(float))}")
    print(f"assigned to some topic {assigned.mean():.3f}; of those, right {(strict == truth)[assigned].mean():.3f}")
    print("confusion (rows: truth, columns: ours):")
    for category in CATEGORIES:
        print(f"{category:14s}", " ".join(f"{name}={int(((truth == category) & (ours == name)).sum())}" for name in [*CATEGORIES, "none"]))


if __name__ == "__main__":
    main()
