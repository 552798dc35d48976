"""Steering: whether measuring chooses features that do something, and what turning them is worth beside other ways to get there.

    python benchmarks/steering.py selected TEXTS [--screened 60] [--atlas FILE]       TEXTS, here and below: a JSON Lines corpus
    python benchmarks/steering.py concepts TEXTS... --out runs/concepts.json

`selected` takes features that the effect atlas' neutral contexts put first, and any, and looks at them in contexts that the atlas never
saw: how many put the words in that the atlas says they raise, more than 38 of 39 random steps as long put in theirs (decided in the atlas'
contexts too), and whether the atlas tells how much else they move.

`concepts` turns 20 news concepts up (`news_concepts.json`): by the feature that raises half of a concept's words most for what it costs,
by the difference of means (texts that have those words less others), by random steps, and by asking in words; all but the last at the
same cost, KL nats a token along what the model writes by itself. Measured: the log odds of the other half of the words on the way; in
texts written under it how often those words stand, how odd the clean model finds them, how much repeats.
"""

import argparse
import io
import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

CONCEPTS = Path(__file__).with_name("news_concepts.json")
PROMPTS = ("Yesterday in the city", "The report says that", "People here are talking about")
AT_ONCE = 16
"""Steps measured at a time."""


def texts(paths: list[Path], most_characters: int) -> Iterator[str]:
    """Text after text of the corpora, the beginning of each."""
    import zstandard

    for path in paths:
        with path.open("rb") as file:
            source = zstandard.ZstdDecompressor().stream_reader(file) if path.suffix == ".zst" else file
            for line in io.TextIOWrapper(source, "utf-8"):
                row = json.loads(line)
                yield (f"{row['title']}. " if row.get("title") else "") + row["text"][:most_characters].replace("\n", " ")


def spread(values: np.ndarray) -> dict[str, float]:
    """The mean with its 95 % interval, by resampling."""
    draws = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.quantile(values[draws].mean(1), (0.025, 0.975))
    return {"mean": round(float(values.mean()), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


@dataclass
class Step:
    """A step in the contexts of one set: what it moves, and what goes over to some words."""

    kl: float
    rest: float
    """KL of everything but its own words, brought back to a sum of 1."""
    gain: np.ndarray


def in_contexts(model, contexts, steps: torch.Tensor, words: list[list[int]]) -> list[Step]:
    """What each of `steps` does in `contexts`, `words` its own."""
    clean, out = torch.cat([log_p for _, log_p in model.head.log_probs(contexts.hidden)]), []
    for at in range(0, len(steps), 8):
        for hidden, own in zip(contexts.hidden_with(steps[at : at + 8]), words[at : at + 8], strict=True):
            log_q = torch.cat([rows for _, rows in model.head.log_probs(hidden)])
            p, q = clean[:, own].exp(), log_q[:, own].exp()
            moved = clean.exp() * (clean - log_q)
            left, outside = 1 - p.sum(1), moved.sum(1) - moved[:, own].sum(1)
            rest = outside / left + torch.log((1 - q.sum(1)) / left)
            out.append(Step(float(moved.sum(1).mean()), float(rest.mean()), (q - p).sum(1).double().numpy()))
    return out


def selected(options: argparse.Namespace) -> None:
    from scipy.stats import spearmanr

    from hooke.atlas import Atlas
    from hooke.features.effects import EffectSettings, Meter, estimate, random_directions, share_above
    from hooke.model import Model
    from hooke.model.last import LastToken
    from hooke.sae import Sae
    from hooke.sae.packs import atlas_file

    model, sae = Model.load(options.model), Sae.from_pretrained(options.sae)
    atlas, draw = Atlas(options.atlas or atlas_file(sae.name)), np.random.default_rng(options.seed)
    effects, maximum, rows = atlas.effects(sae.name), atlas.table(sae.name).max, sae.W_dec.float()
    # Decided beforehand: how much more it puts in than one in twenty random steps does.
    screen = {i: one.full.gain.mean - one.full.gain_random[1] for i, one in effects.items()}
    best = sorted(screen, key=lambda i: -screen[i])[: len(screen) // 10]
    top, any_of = (draw.choice(some, options.screened, replace=False).tolist() for some in (best, list(screen)))
    settings = EffectSettings(contexts=options.contexts)
    ids = [own[: settings.length + 1] for own in model.tokenizer.encode(list(itertools.islice(texts(options.texts, 400), 2000)))]
    ids = draw.permutation([own for own in ids if len(own) > settings.length])[: options.contexts]
    unseen = LastToken.read(model, torch.tensor(ids), sae.site)
    lengths = np.array([float(rows[i].norm()) * maximum[i] for i in (*top, *any_of)])
    norms = np.quantile(lengths, (0.1, 0.5, 0.9))
    directions = random_directions(sae, options.controls, torch.Generator().manual_seed(options.seed + 1))
    controls = torch.cat([directions * float(norm) for norm in norms])
    meter = Meter.neutral(model, sae, settings)
    theirs = [[moved.token for moved in one.raised] for some in controls.split(8) for one in meter.measure(some)]
    beside = np.array([one.gain.mean() for one in in_contexts(model, unseen, controls, theirs)]).reshape(len(norms), -1)
    steps = torch.stack([rows[i] * float(maximum[i]) for i in (*top, *any_of)])
    own = [[moved.token for moved in effects[i].full.raised] for i in (*top, *any_of)]
    found = in_contexts(model, unseen, steps, own)
    nearest = [beside[int(np.argmin(np.abs(np.log(norms / length))))] for length in lengths]
    p = np.array([share_above(one.gain.mean(), near) for one, near in zip(found, nearest, strict=True)])
    beats = (p <= 0.05) & np.array([estimate(one.gain).low > 0 for one in found])
    rest, everyone = np.array([one.rest for one in found]), slice(options.screened, None)
    footprint = [float((model.hf.get_output_embeddings().weight.float() @ step).std()) for step in steps]
    known = np.array([effects[i].full.kl.mean for i in (*top, *any_of)])
    result = {
        "measured": len(effects),
        "beats_controls_top_decile": spread(beats[: options.screened].astype(float)),
        "beats_controls_any": spread(beats[everyone].astype(float)),
        "collateral_spearman_any": {
            "kl_of_the_atlas": round(float(spearmanr(known[everyone], rest[everyone])[0]), 3),
            "length_of_the_step": round(float(spearmanr(lengths[everyone], rest[everyone])[0]), 3),
            "spread_of_its_logits": round(float(spearmanr(footprint[everyone], rest[everyone])[0]), 3),
        },
        "processor_s": round(time.process_time()),
    }
    print(json.dumps(result))


class Continuations:
    """What the model writes by itself after each prompt, and what it expects on the way."""

    def __init__(self, model, site, tokens: int) -> None:
        self.model, self.site, self.parts = model, site, []
        for prompt in PROMPTS:
            ids = torch.tensor(model.tokenizer.encode([prompt]))
            written = model.generate(ids, tokens, seed=1)
            self.parts.append((ids.shape[1], written, self.expected(written, ids.shape[1])))

    @torch.inference_mode()
    def expected(self, ids: torch.Tensor, start: int) -> torch.Tensor:
        """``[token, vocab]``: what is expected, from token number `start` on."""
        hidden = self.model.hidden(ids)[:, start - 1 : -1].flatten(0, 1)
        return torch.cat([log_p for _, log_p in self.model.head.log_probs(hidden)])

    def measure(self, vectors: torch.Tensor, words: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """``[row]`` KL in nats a token, and by how much the log odds of each row's words rise, with each of `vectors` added everywhere."""
        kl, rise = np.zeros((2, len(vectors)))
        for start, written, clean in self.parts:
            for at in range(0, len(vectors), AT_ONCE):
                some = vectors[at : at + AT_ONCE]
                with self.model.edit(self.site, lambda acts, some=some: acts + some[:, None], special=False):
                    found = self.expected(written.expand(len(some), -1), start).view(len(some), len(clean), -1)
                for row, log_q in enumerate(found, at):
                    own = changes(clean, log_q, words[row])
                    kl[row], rise[row] = kl[row] + own[0] / len(self.parts), rise[row] + own[1] / len(self.parts)
        return kl, rise

    def asked(self, concept: str, words: list[int]) -> tuple[float, float]:
        """The same for a concept that is asked for in words before each prompt."""
        found = []
        for start, written, clean in self.parts:
            told = torch.tensor(self.model.tokenizer.encode([request(concept, "")]))
            ids = torch.cat([told, written[:, 1:]], 1)
            found.append(changes(clean, self.expected(ids, start + told.shape[1] - 1), words))
        kl, rise = np.mean(found, 0)
        return float(kl), float(rise)

    def at_cost(self, vectors: torch.Tensor, kl: float, words: list[list[int]]) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """`vectors` of the lengths at which each costs `kl`, what they cost in the end and how the words rise."""
        power, last = np.full(len(vectors), 2.0), None
        for _ in range(5):
            cost, rise = self.measure(vectors, words)
            if last is not None:
                moved = np.log(last[1])
                power = np.clip(np.log(cost / last[0]) / np.where(np.abs(moved) < 1e-3, np.inf, moved), 0.7, 4.0)
            if np.abs(np.log(cost / kl)).max() < 0.03:
                break
            factor = np.clip((kl / cost) ** (1 / power), 0.2, 5.0)
            vectors, last = vectors * torch.tensor(factor, dtype=vectors.dtype)[:, None], (cost, factor)
        return vectors, cost, rise


def changes(clean: torch.Tensor, log_q: torch.Tensor, words: list[int]) -> tuple[float, float]:
    """KL, and the rise of the log odds of `words`, means over tokens."""
    odds = [torch.special.logit(one[:, words].exp().sum(1), eps=1e-9) for one in (clean, log_q)]
    return float((clean.exp() * (clean - log_q)).sum(1).mean()), float((odds[1] - odds[0]).mean())


def request(concept: str, prompt: str) -> str:
    """As `hooke steer` asks in words."""
    return f"A text about {concept}:\n\n{prompt}"


def concepts(options: argparse.Namespace) -> None:
    from hooke.atlas import Atlas
    from hooke.errors import BadConfig
    from hooke.features.effects import random_directions
    from hooke.model import Model
    from hooke.propose import tokens_for
    from hooke.sae import Sae
    from hooke.sae.packs import atlas_file

    def forms(words: str) -> list[int]:
        found = []
        for word in words.split():
            try:
                found += tokens_for(model, [word])
            except BadConfig:
                print(f"left out, more than one token: {word}", flush=True)
        return found

    model, sae = Model.load(options.model), Sae.from_pretrained(options.sae)
    lists = json.loads(CONCEPTS.read_text("utf-8"))
    chosen_by, held = ({name: forms(one[key]) for name, one in lists.items()} for key in ("choose", "held"))
    maximum = Atlas(atlas_file(sae.name)).table(sae.name).max
    features = best_features(model, sae, maximum, chosen_by)
    means = differences(model, sae.site, options, lists)
    draw = torch.Generator().manual_seed(options.seed)
    random = random_directions(sae, len(lists), draw) * float(np.median(sae.W_dec.float().norm(dim=1).numpy() * maximum))
    rows = torch.stack([sae.W_dec[i].float() * float(maximum[i]) for i in features.values()])
    vectors, names = torch.cat([rows, torch.stack(list(means.values())), random]), list(lists)
    wanted = [held[name] for name in 3 * names]
    print(f"chosen: {features}; {time.process_time():.0f} s", flush=True)
    way = Continuations(model, sae.site, options.positions)
    vectors, kl, rise = way.at_cost(vectors, options.kl, wanted)
    print(f"costs from {kl.min():.2f} to {kl.max():.2f}; {time.process_time():.0f} s", flush=True)
    asked = {name: way.asked(name, held[name]) for name in names}
    texts_of = written(model, sae.site, vectors, names, held, options)
    n, arms = len(names), {}
    for arm, rows_of in {"feature": slice(0, n), "difference of means": slice(n, 2 * n), "random": slice(2 * n, 3 * n)}.items():
        arms[arm] = {"rise": rise[rows_of], "kl": kl[rows_of]} | {key: value[rows_of] for key, value in texts_of.items()}
    arms["asked"] = {"rise": np.array([one[1] for one in asked.values()]), "kl": np.array([one[0] for one in asked.values()])}
    arms["asked"] |= {key: value[-n:] for key, value in texts_of.items()}
    clean = {key: float(value[3 * n : 4 * n].mean()) for key, value in texts_of.items()}
    draws = np.random.default_rng(0).integers(0, n, (2000, n))
    ratio = arms["feature"]["rise"][draws].mean(1) / arms["difference of means"]["rise"][draws].mean(1)
    share = arms["feature"]["rise"].mean() / arms["difference of means"]["rise"].mean()
    result = {
        "arms": {arm: {key: spread(value) for key, value in own.items()} for arm, own in arms.items()},
        "clean": clean,
        "feature_to_difference_of_means": [round(float(value), 3) for value in (share, *np.quantile(ratio, (0.025, 0.975)))],
        "by_concept": {
            name: {"feature": features[name]} | {arm: round(float(own["rise"][i]), 2) for arm, own in arms.items()}
            for i, name in enumerate(names)
        },
        "processor_s": round(time.process_time()),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


def best_features(model, sae, maximum: np.ndarray, words: dict[str, list[int]], each: int = 12) -> dict[str, int]:
    """By concept the feature that raises its words most for what it costs (rise over √KL), of those that point furthest towards them."""
    from hooke.features.effects import EffectSettings, neutral_contexts
    from hooke.propose import candidates

    some = {name: candidates(model, sae, maximum, own, each) for name, own in words.items()}
    everyone = sorted({i for own in some.values() for i in own})
    contexts = neutral_contexts(model, sae, EffectSettings(contexts=12))
    clean = torch.cat([log_p for _, log_p in model.head.log_probs(contexts.hidden)])
    worth = {}
    for at in range(0, len(everyone), 8):
        now = everyone[at : at + 8]
        steps = torch.stack([sae.W_dec[i].float() * float(maximum[i]) for i in now])
        for i, hidden in zip(now, contexts.hidden_with(steps), strict=True):
            log_q = torch.cat([rows for _, rows in model.head.log_probs(hidden)])
            for name in (name for name in words if i in some[name]):
                kl, rise = changes(clean, log_q, words[name])
                worth[name, i] = rise / max(kl, 1e-3) ** 0.5
    return {name: max(own, key=lambda i: worth[name, i]) for name, own in some.items()}


def differences(model, site, options: argparse.Namespace, lists: dict[str, dict[str, str]]) -> dict[str, torch.Tensor]:
    """By concept the mean activation of texts with most of its words, less that of texts that have none of any concept's."""
    pattern, others = {name: set(one["choose"].split()) for name, one in lists.items()}, []
    found: dict[str, list[tuple[int, str]]] = {name: [] for name in lists}
    for text in itertools.islice(texts(options.texts, 400), options.read):
        own = set(re.findall(r"\w+", text))
        counts = {name: len(words & own) for name, words in pattern.items()}
        if not any(counts.values()):
            others.append(text)
        for name in (name for name, count in counts.items() if count):
            found[name].append((-counts[name], text))
    best = {name: sorted(own, key=lambda one: one[0])[: options.documents] for name, own in found.items()}
    print("texts with two words or more:", {name: sum(count <= -2 for count, _ in own) for name, own in best.items()}, flush=True)
    middle = mean_activation(model, site, others[:: max(1, len(others) // 40)][:40])
    return {name: mean_activation(model, site, [text for _, text in own]) - middle for name, own in best.items()}


def mean_activation(model, site, some: list[str]) -> torch.Tensor:
    acts = model.capture(some, [site])
    return acts[site][acts.keep].float().mean(0)


def written(model, site, vectors: torch.Tensor, names: list[str], held: dict[str, list[int]], options) -> dict[str, np.ndarray]:
    """``[row]`` of texts written with each of `vectors`, by the model itself, and asked in words: held-out words, loss, repetition."""
    wanted = [held[name] for name in 5 * names]
    total = len(vectors) + 2 * len(names)
    found = {key: np.zeros(total) for key in ("held-out words", "loss of the clean model", "repetition")}
    for prompt in PROMPTS:
        bare = torch.tensor(model.tokenizer.encode([prompt]))
        with model.edit(site, lambda acts: acts + vectors[:, None], special=False):
            steered = model.generate(bare.repeat(len(vectors), 1), options.tokens, seed=2, alike=True)[:, bare.shape[1] :]
        clean = model.generate(bare, options.tokens, seed=2, alike=True)[:, bare.shape[1] :].repeat(len(names), 1)
        told = model.tokenizer.encode([request(name, prompt) for name in names])
        ragged = torch.tensor([ids + [-1] * (max(map(len, told)) - len(ids)) for ids in told])
        more = model.generate(ragged, options.tokens, seed=2, alike=True)
        asked = [row[len(ids) : len(ids) + options.tokens] for row, ids in zip(more, told, strict=True)]
        rows = torch.nn.utils.rnn.pad_sequence([row for part in (steered, clean, asked) for row in part], batch_first=True)
        loss = torch.cat([model.loss(torch.cat([bare.repeat(len(some), 1), some], 1)) for some in rows.split(16)])[:, bare.shape[1] - 1 :]
        for i, (row, own) in enumerate(zip(rows.tolist(), wanted, strict=True)):
            pairs = list(itertools.pairwise(row))
            found["held-out words"][i] += np.isin(row, own).mean() / len(PROMPTS)
            found["loss of the clean model"][i] += float(loss[i].nanmean()) / len(PROMPTS)
            found["repetition"][i] += (1 - len(set(pairs)) / len(pairs)) / len(PROMPTS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("selected", "concepts"))
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--sae", default="gemma-3-270m/resid_post.12/8k")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--atlas", type=Path, help="with effects; by default the pack's")
    parser.add_argument("--screened", type=int, default=60, help="features that come first, and as many of any")
    parser.add_argument("--contexts", type=int, default=32)
    parser.add_argument("--controls", type=int, default=39, help="random directions, at three lengths each")
    parser.add_argument("--kl", type=float, default=0.5, help="nats a token")
    parser.add_argument("--positions", type=int, default=8, help="tokens of each prompt's continuation that are measured")
    parser.add_argument("--tokens", type=int, default=20, help="tokens written after each prompt")
    parser.add_argument("--documents", type=int, default=10, help="texts behind each difference of means")
    parser.add_argument("--read", type=int, default=20_000, help="texts looked through for these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/concepts.json"))
    options = parser.parse_args()
    {"selected": selected, "concepts": concepts}[options.what](options)


if __name__ == "__main__":
    main()
