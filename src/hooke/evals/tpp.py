"""TPP, targeted probe perturbation: whether taking out the features of one class spoils the probe for that class and for no other.

A diagnostic and no score: it falls as training goes on, and differs between seeds as much as between SAEs (arXiv 2605.18229).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hooke.errors import BadConfig
from hooke.evals.labelled import Labelled
from hooke.evals.pooled import CONTEXT, Pooled, PooledTexts, pool_texts
from hooke.evals.probes import ClassSplit, Trials, dense, figure, fit_weights, mean_difference
from hooke.model import Model
from hooke.sae import Sae


@dataclass(frozen=True)
class TppConfig:
    """How to perturb."""

    ns: tuple[int, ...] = (2, 5, 10, 20, 50, 100, 500)
    """Features taken out."""
    splits: int = 3
    """Divisions of the documents into training and test, each with a seed of its own."""
    context: int = CONTEXT
    """Tokens read of each text, the beginning-of-sequence token included."""

    def __post_init__(self) -> None:
        if not self.ns or min(self.ns) < 1 or self.splits < 1 or self.context < 2:
            raise BadConfig(f"ns and splits must be at least 1, context 2: {self}.")


def run(
    model: Model,
    saes: Sequence[Sae],
    labelled: Labelled,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    config: TppConfig | None = None,
    pooled: PooledTexts | None = None,
) -> list[dict[str, Any]]:
    """For each SAE its TPP, beside that of a random dictionary of equal width and L0; ready for JSON.

        TPP(n) = mean over i of (A_i − A_i without i's features) − mean over i ≠ j of (A_j − A_j without i's features)

    (SAEBench, arXiv 2503.09532.) ``A_j`` is the balanced accuracy, on test documents, of class j's probe: a logistic regression on the
    mean-pooled activations. Class i's features are the n with the largest positive effect on its probe, ``(mean in class − mean in the
    rest) · (decoder row · probe)``, on training documents. They are taken out of every token, the SAE's error kept:
    ``x − Σ f_l d_l``. That is linear in the codes, so it is done on the pooled vectors, exactly.

    Rows have ``method`` (``sae`` or ``random_dictionary``), ``n``, and the figures ``tpp``, ``on_target`` (its first mean) and
    ``off_target`` (its second). An SAE that writes another site than it reads has ``"skipped"`` with the reason in place of rows.
    """
    config = config or TppConfig()
    pooled = pooled or pool_texts(model, saes, labelled.texts, context=config.context, seed=seed, progress=progress)
    trials = Trials(labelled, seed, config.splits)
    probes: dict[Any, _Probes] = {}
    out = []
    for number, sae in enumerate(saes):
        facts = {"sae": sae.name, "labels": labelled.name, "documents": len(labelled), "classes": labelled.counts}
        if sae.facts.output_sites != sae.facts.input_sites:
            out.append({**facts, "skipped": "it writes another site than it reads; TPP takes features out of what was read"})
            continue
        progress(f"Perturbing probes with {sae.name}")
        if sae.facts.input_sites not in probes:
            probes[sae.facts.input_sites] = _Probes.fit(trials, pooled.acts[sae.facts.input_sites].mean)
        own = probes[sae.facts.input_sites]
        rows = own.rows("sae", pooled.codes[number], sae, config.ns)
        rows += own.rows("random_dictionary", pooled.random[number], pooled.dictionaries[number], config.ns)
        out.append({**facts, "probes": own.accuracies(), "rows": rows})
    return out


@dataclass(frozen=True)
class _Probes:
    """A probe for each class and split, and what each makes of the test documents."""

    trials: Trials
    acts: Float[np.ndarray, "text d_in"]
    fitted: list[tuple[ClassSplit, Float[np.ndarray, " d_in"], float]]

    @classmethod
    def fit(cls, trials: Trials, acts: Float[np.ndarray, "text d_in"]) -> "_Probes":
        exact = dense(acts)
        return cls(trials, exact, [(trial, *fit_weights(exact[trial.train], trial.truth[trial.train])) for trial in trials])

    def accuracy(self, number: int, removed: np.ndarray | float = 0.0) -> Float[np.ndarray, " resample"]:
        """Balanced accuracy of probe `number` on test documents whose scores lack `removed`."""
        trial, weights, offset = self.fitted[number]
        return self.trials.judge(trial, self.acts[trial.test] @ weights + offset - removed)[0]

    def accuracies(self) -> dict[str, dict[str, float]]:
        """Each class's figure before anything is taken out."""
        by_class: dict[str, list[np.ndarray]] = {}
        for number, (trial, _, _) in enumerate(self.fitted):
            by_class.setdefault(trial.label, []).append(self.accuracy(number))
        return {label: figure(np.mean(parts, axis=0)) for label, parts in by_class.items()}

    def rows(self, method: str, codes: Pooled, sae: Sae, ns: Sequence[int]) -> list[dict[str, Any]]:
        """TPP for every n."""
        decoder = sae.W_dec.cpu().float().numpy()
        before = [self.accuracy(number) for number in range(len(self.fitted))]
        on: dict[int, list[np.ndarray]] = {n: [] for n in ns}
        off: dict[int, list[np.ndarray]] = {n: [] for n in ns}
        for trial, weights, _ in self.fitted:
            difference = mean_difference(codes.mean[trial.train], trial.truth[trial.train])
            feature = helpful(difference * (decoder @ weights.astype(np.float32)), max(ns))
            active, rows = dense(codes.mean[trial.test][:, feature]), dense(decoder[feature])
            for number, (other, towards, _) in enumerate(self.fitted):
                if other.split != trial.split:
                    continue
                written = active * (rows @ towards)
                for n in ns:
                    lost = before[number] - self.accuracy(number, written[:, :n].sum(1))
                    (on if other.label == trial.label else off)[n].append(lost)
        return [
            {
                "method": method,
                "n": n,
                "tpp": figure(np.mean(on[n], axis=0) - np.mean(off[n], axis=0)),
                "on_target": figure(np.mean(on[n], axis=0)),
                "off_target": figure(np.mean(off[n], axis=0)),
            }
            for n in ns
        ]


def helpful(effect: Float[np.ndarray, " feature"], count: int) -> Int[np.ndarray, " k"]:
    """At most `count` features with the largest effect, largest first; none whose effect is not positive."""
    order = np.argsort(-effect, kind="stable")[:count]
    return order[effect[order] > 0]
