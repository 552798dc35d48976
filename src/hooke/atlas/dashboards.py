"""Dashboards: features in the file layouts that Neuronpedia exports and SAEDashboard writes, and their names in Delphi's."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hooke.atlas import Atlas
from hooke.atlas.feature import Context, Feature
from hooke.atlas.records import INTERVALS, NO_MEANING, TOO_RARE
from hooke.names import SaeName, Site

_BATCH = 1024
_DASHBOARD_BATCH = 128
_WHOLE = 1 << 30
_SETS = {"resid_post": "res", "resid_pre": "res-pre", "resid_mid": "res-mid", "attn_z": "att", "attn_out": "att-out"}
_HOOKS = {"resid_post": "hook_resid_post", "resid_pre": "hook_resid_pre", "resid_mid": "hook_resid_mid", "mlp_out": "hook_mlp_out"}
_HOOKS |= {"attn_out": "hook_attn_out", "attn_z": "attn.hook_z", "mlp_in": "mlp.hook_in"}
_DELPHI = {"resid_post": "", "mlp_out": ".mlp"}
_CREATOR = "hooke"
_RULE, _READ, _OWN = "hooke_rule", "hooke_reading", "hooke_own"
_TYPES = {
    _RULE: "A rule that was run on held-out text.",
    _READ: "A name by somebody who read where the feature fires.",
    _OWN: "A person's own label; it was not scored.",
}


def write_neuronpedia(atlas: Atlas, sae: str, folder: Path, progress: Callable[[str], None]) -> None:
    """The files of one SAE as in Neuronpedia's bulk exports: ``v1/{model}/{source}/...``, gzipped JSON Lines in batches of 1,024."""
    about = _About(atlas, sae)
    place = folder / "v1" / about.model / about.source
    for batch, features in enumerate(_batches(atlas, sae, _BATCH, progress)):
        kinds = {
            "features": [about.feature(feature) for feature in features],
            "activations": [row for feature in features for row in about.activations(feature)],
            "explanations": [row for feature in features for row in about.explanations(feature)],
        }
        for kind, rows in kinds.items():
            (place / kind).mkdir(parents=True, exist_ok=True)
            data = "".join(map(_line, rows)).encode("utf-8", "replace")
            (place / kind / f"batch-{batch}.jsonl.gz").write_bytes(gzip.compress(data, 5, mtime=0))
    for name, row in about.headers().items():
        (place / f"{name}.jsonl").write_text(_line(row), "utf-8")
    config = folder / "v1" / "config"
    config.mkdir(exist_ok=True)
    (config / "explanation_type.jsonl").write_text("".join(_line({"name": name, "description": said}) for name, said in _TYPES.items()))


def write_saedashboard(atlas: Atlas, sae: str, folder: Path, progress: Callable[[str], None]) -> None:
    """The files of one SAE as SAEDashboard's Neuronpedia runner writes them, but for its pickled tokens."""
    about = _About(atlas, sae)
    place = folder / about.source
    place.mkdir(parents=True)
    head = {"model_id": about.model, "layer": about.site.layer, "sae_set": about.set, "sae_id_suffix": None}
    for batch, features in enumerate(_batches(atlas, sae, _DASHBOARD_BATCH, progress)):
        rows = [about.dashboard(feature) for feature in features]
        (place / f"batch-{batch}.json").write_text(json.dumps(head | {"features": rows}, ensure_ascii=False), "utf-8")
    settings = {"sae_set": about.set, "sae_path": sae, "model_id": about.model, "huggingface_dataset_path": about.corpora}
    settings |= {"n_features_at_a_time": _DASHBOARD_BATCH, "n_prompts_total": about.windows, "n_tokens_in_prompt": about.context}
    (place / "run_settings.json").write_text(json.dumps(settings, indent=4), "utf-8")
    skipped = {**{k: head[k] for k in ("model_id", "sae_set")}, "layer": str(about.site.layer), "log_sparsity": None, "skipped_indexes": []}
    (place / "skipped_indexes.json").write_text(json.dumps(skipped), "utf-8")


def write_delphi(atlas: Atlas, sae: str, folder: Path, progress: Callable[[str], None]) -> None:
    """What features of one SAE are called as Delphi keeps explanations, to be scored by it: a small file for each feature that has a name.

    Your own label, else a reader's name that may stand first, else the rule's label.
    """
    about, entry = _About(atlas, sae), atlas.saes[sae]
    place = folder / about.source / "explanations"
    place.mkdir(parents=True)
    site, read = about.site, atlas.names(sae)
    hookpoint = f"layers.{site.layer}" + _DELPHI.get(site.kind, f".{site.kind}")
    own = {index: written.label for index, written in (atlas.notes.of(entry) if atlas.notes else {}).items()}
    progress(f"{sae}: {entry.d_sae:,} features")
    for index, label in enumerate(atlas.table(sae).label):
        rule = None if label in (NO_MEANING, TOO_RARE) else label
        named = read[index].name if index in read and read[index].stands_first else None
        if said := own.get(index) or named or rule:
            (place / f"{hookpoint}_latent{index}.txt").write_text(json.dumps(said, ensure_ascii=False), "utf-8")


class _About:
    """What the layouts say of an SAE, and its features in their words."""

    def __init__(self, atlas: Atlas, sae: str) -> None:
        name = SaeName.parse(sae)
        self.entry = atlas.saes[sae]
        self.site: Site = name.site
        self.model = re.sub(r"[^a-z0-9_-]", "-", str(atlas.facts.get("model", name.collection)).lower())
        kind = _SETS.get(self.site.kind, self.site.kind.replace("_", "-").replace("-out", ""))
        self.set = re.sub(r"[^a-z0-9_-]", "-", f"hooke-{kind}-{name.variant}".lower())
        self.source = f"{self.site.layer}-{self.set}"
        self.hook = f"blocks.{self.site.layer}.{_HOOKS[self.site.kind]}"
        self.corpora = ", ".join(sorted(map(str, atlas.facts.get("corpora", ()))))
        self.context = int(atlas.facts.get("context") or 128)
        self.windows = int(self.entry.facts.get("tokens") or atlas.facts.get("tokens") or 0) // self.context
        self.created = datetime.fromtimestamp(atlas.path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")

    def headers(self) -> dict[str, dict[str, Any]]:
        """The rows of the small files beside the batches."""
        shown = {"creatorId": _CREATOR, "createdAt": self.created, "visibility": "UNLISTED"}
        return {
            "model": {"id": self.model, "displayName": self.model, "displayNameShort": self.model, "instruct": False, **shown},
            "release": {"name": "hooke", "description": "Made by Hooke", "creatorName": "Hooke", **shown},
            "sourceset": {
                "modelId": self.model,
                "name": self.set,
                "hasDashboards": True,
                "type": self.site.kind,
                "description": self.entry.name,
                "creatorName": "Hooke",
                "releaseName": "hooke",
                **shown,
            },
            "source": {
                "id": self.source,
                "modelId": self.model,
                "setName": self.set,
                "hasDashboards": True,
                "num_prompts": self.windows,
                "num_tokens_in_prompt": self.context,
                "dataset": self.corpora,
                **shown,
            },
        }

    def _identity(self, feature: Feature) -> dict[str, str]:
        return {"modelId": self.model, "layer": self.source, "index": feature.name.rpartition("/")[2]}

    def feature(self, feature: Feature) -> dict[str, Any]:
        """A row of ``features``; a vector is only kept there for directions that people add, and what an atlas does not hold is empty."""
        unknown = ("neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices")
        unknown += ("correlated_neurons_pearson", "correlated_neurons_l1", "correlated_features_indices", "correlated_features_pearson")
        unknown += ("correlated_features_l1", "decoder_weights_dist")
        return {
            **self._identity(feature),
            "creatorId": _CREATOR,
            "createdAt": self.created,
            "maxActApprox": _round(feature.max),
            "hasVector": False,
            "vector": [],
            "vectorLabel": None,
            "vectorDefaultSteerStrength": 10,
            "hookName": self.hook,
            "topkCosSimIndices": [int(relative.name.rpartition("/")[2]) for relative in feature.neighbours],
            "topkCosSimValues": [_round(relative.value) for relative in feature.neighbours],
            **{name: [] for name in unknown},
            **_tables(feature),
            "sourceSetName": self.set,
        }

    def activations(self, feature: Feature) -> Iterator[dict[str, Any]]:
        """Rows of ``activations``: the top group, then the intervals from the strongest."""
        for number, (context, low, high, contains) in enumerate(_groups(feature)):
            yield {
                "id": f"{self.model}-{self.source}-{feature.name.rpartition('/')[2]}-{number}",
                "tokens": _tokens(context),
                **self._identity(feature),
                "maxValue": _round(max(context.values)),
                "maxValueTokenIndex": context.values.index(max(context.values)),
                "minValue": _round(min(context.values)),
                "values": [_round(value) for value in context.values],
                "creatorId": _CREATOR,
                "dataSource": context.corpus,
                "dataIndex": str(context.doc),
                "createdAt": self.created,
                "binMin": low,
                "binMax": high,
                "binContains": contains,
                "qualifyingTokenIndex": context.peak,
            }

    def explanations(self, feature: Feature) -> Iterator[dict[str, Any]]:
        """Rows of ``explanations``: a person's own label, a reader's name, then the rule's wording, scores in the notes."""
        if feature.written.label:
            yield self._explanation(feature, feature.written.label, _OWN, "not scored", "-own")
        if (name := feature.named) is not None and name.name:
            held = "not scored" if name.score is None else f"balanced accuracy {name.score:.3f}, blind reader, {name.n} held-out places"
            yield self._explanation(feature, name.name, _READ, held, "-read") | {"explanationModelName": name.reader or None}
        if feature.label is not None and feature.label.text not in (NO_MEANING, TOO_RARE):
            token = feature.label.token
            note = "" if token is None else f"balanced accuracy {token.value:.3f} on {token.positives} places where it fires, held out"
            yield self._explanation(feature, feature.label.text, _RULE, note)

    def _explanation(self, feature: Feature, text: str, kind: str, note: str, suffix: str = "") -> dict[str, Any]:
        return {
            "id": f"{self.model}-{self.source}-{feature.name.rpartition('/')[2]}{suffix}",
            **self._identity(feature),
            "description": text,
            "authorId": _CREATOR,
            "embedding": None,
            "triggeredByUserId": None,
            "typeName": kind,
            "explanationModelName": None,
            "notes": note,
            "createdAt": self.created,
            "scoreV1": None,
            "scoreV2": None,
        }

    def dashboard(self, feature: Feature) -> dict[str, Any]:
        """A feature of a dashboard's batch."""
        groups = [
            {
                "bin_min": low,
                "bin_max": high,
                "bin_contains": contains,
                "tokens": _tokens(context),
                "values": [_round(value) for value in context.values],
                "qualifying_token_index": context.peak,
            }
            for context, low, high, contains in _groups(feature)
        ]
        head = {"feature_index": int(feature.name.rpartition("/")[2]), **_tables(feature), "n_prompts_total": self.windows}
        return head | {"n_tokens_in_prompt": self.context, "dataset": self.corpora, "decoder_weights_dist": [], "activations": groups}


def _batches(atlas: Atlas, sae: str, size: int, progress: Callable[[str], None]) -> Iterator[list[Feature]]:
    total = atlas.saes[sae].d_sae
    for start in range(0, total, size):
        progress(f"{sae}: {start:,} of {total:,} features")
        yield [atlas.feature(f"{sae}/{index}", around=_WHOLE) for index in range(start, min(total, start + size))]


def _tables(feature: Feature) -> dict[str, Any]:
    """Promoted and suppressed tokens, density and histogram, as both layouts call them."""
    width = feature.max / len(feature.histogram) if feature.histogram else 0.0
    return {
        "neg_str": [token.text.replace("\0", " ") for token in feature.suppressed],
        "neg_values": [_round(token.weight or 0.0) for token in feature.suppressed],
        "pos_str": [token.text.replace("\0", " ") for token in feature.promoted],
        "pos_values": [_round(token.weight or 0.0) for token in feature.promoted],
        "frac_nonzero": _round(feature.density, 9),
        "freq_hist_data_bar_heights": feature.histogram,
        "freq_hist_data_bar_values": [_round(i * width) for i in range(len(feature.histogram))],
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
    }


def _groups(feature: Feature) -> Iterator[tuple[Context, float | int, float | int, float | int]]:
    """Examples with the bounds of their group and the share of activations in it; of the top group -1, the maximum and -1."""
    for context in feature.top:
        yield context, -1, _round(feature.max), -1
    each = len(feature.histogram) // INTERVALS
    for i in reversed(range(len(feature.intervals))):
        low, high = map(_round, feature.stretch(i))
        inside = sum(feature.histogram[i * each : (i + 1) * each])
        for context in feature.intervals[i]:
            yield context, low, high, _round(inside / max(1, sum(feature.histogram)))


def _tokens(context: Context) -> list[str]:
    return [token.replace("\0", " ") for token in context.tokens]  # their database cannot hold the character


def _round(value: float | int, digits: int = 5) -> float:
    return round(float(value), digits)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
