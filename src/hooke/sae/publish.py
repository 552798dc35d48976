"""Publish: an SAE as a folder with a card, and that folder on a model hub."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hooke.errors import BadConfig, Missing
from hooke.files import atomic_folder
from hooke.sae import Sae, hub

WEIGHTS = "sae.safetensors"
"""The file with the weights."""
CARD = "README.md"
"""The file with the card."""
# What a card says besides what the SAE's own facts hold: field and the question it answers.
_ASKED = {
    "revision": "Revision of the model",
    "tokenizer": "Digest of the tokenizer",
    "licence": "Licence",
    "parent": "Fine-tuned from",
    "compute": "Compute and wall-clock",
    "versions": "Versions of the libraries",
    "date": "Date",
    "intended_use": "Intended use",
    "out_of_scope": "Out-of-scope use",
    "known_failures": "Known failures",
    "contact": "Contact",
}
_LIMITS = (
    "Features are not canonical: another seed, width or mix of data cuts the same activations into others.",
    "A feature describes patterns in text as the model reads them, never properties of people. Do not decide about anyone with it.",
    "Reconstruction is incomplete: part of what the model computes is in no feature. L0 and fidelity do not measure quality.",
    "That a feature is active shows no cause until an intervention, with matched random controls, does.",
)
_NOT_STATED = "not stated"


def save_pretrained(
    sae: Sae,
    folder: Path | str,
    *,
    card: Mapping[str, str] | None = None,
    weights: Literal["float32", "bfloat16", "int8"] = "float32",
) -> Path:
    """Write `folder` with the weights and a card, whole or not at all; `from_pretrained` opens it.

    `card` answers what the SAE's own facts do not: ``licence``, ``revision`` of the model, ``contact`` ... (an unknown field raises
    `BadConfig` with all of them). What nobody answers stands on the card as not stated. A folder with anything else in it is refused.
    """
    folder = Path(folder)
    answers = _checked(card or {})
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in (WEIGHTS, CARD)) if folder.is_dir() else []
    if strangers or folder.is_file():
        found = "is a file" if folder.is_file() else f"holds other things ({', '.join(strangers[:5])})"
        raise BadConfig(f"cannot publish into {folder}: it {found}. Choose a new folder.")
    with atomic_folder(folder) as building:
        sae.save(building / WEIGHTS, weights=weights)
        (building / CARD).write_text(model_card(sae, answers), "utf-8")
    return folder


def push_to_hub(
    sae: Sae,
    repo: str,
    *,
    path: str = "",
    card: Mapping[str, str] | None = None,
    private: bool = True,
    weights: Literal["float32", "bfloat16", "int8"] = "float32",
) -> str:
    """Publish `sae` in the hub's repository `repo` (``org/name``; made if need be, private unless told), in its folder `path`.

    One commit brings weights and card together. The token is the hub client's own (``HF_TOKEN``, or ``hf auth login``). Returns the
    reference that `from_pretrained` takes, at that commit.
    """
    import tempfile

    from huggingface_hub import HfApi

    where = hub.HubPath.parse(f"{repo}/{path}" if path else repo)
    if where is None or where.repo != repo:
        raise BadConfig(f"cannot read {repo!r} as a repository. It is written org/name.")
    if hub.offline():
        raise Missing(f"the hub is switched off (HF_HUB_OFFLINE), so {repo} cannot be written.")
    with tempfile.TemporaryDirectory() as place:
        folder = save_pretrained(sae, Path(place) / "sae", card=card, weights=weights)
        with hub.translated(where, "a place to publish"):
            api = HfApi()
            api.create_repo(repo, private=private, exist_ok=True)
            said = f"{sae.name} ({sae.d_sae:,} features of {sae.facts.model})"
            done = api.upload_folder(repo_id=repo, folder_path=folder, path_in_repo=where.path or None, commit_message=said)
    return str(hub.HubPath(repo, where.path, done.oid or "main"))


def _checked(card: Mapping[str, str]) -> Mapping[str, str]:
    if strangers := sorted(set(card) - set(_ASKED)):
        raise BadConfig(f"a card has no field {', '.join(strangers)}. Known: {', '.join(_ASKED)}.")
    return card


def model_card(sae: Sae, card: Mapping[str, str] | None = None) -> str:
    """The card of `sae` in Markdown, with the header that hubs read; `card` as in `save_pretrained`."""
    answers = _checked(card or {})
    facts = sae.facts
    head = {
        "library_name": "hooke",
        "tags": ["sparse-autoencoder", "interpretability"],
        "base_model": facts.model,
        **({"license": answers["licence"]} if "licence" in answers else {}),
    }
    yaml = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())  # JSON is YAML
    made = {key.replace("_", " "): value for key, value in facts.training.items()}
    asked = {question: answers.get(field, _NOT_STATED) for field, question in _ASKED.items()}
    parts = [
        f"---\n{yaml}\n---\n\n# {sae.name}\n\nA sparse autoencoder for {_code(facts.model)}. Open it with "
        "[Hooke](https://pypi.org/project/hooke/):\n\n"
        f'```python\nfrom hooke import Sae\n\nsae = Sae.from_pretrained("org/repo")  # or the folder with this file\n```',
        _section("What it is", _identity(sae)),
        _section("How good it is", facts.metrics or {"evaluation": _NOT_STATED}),
        _section("How it was made", made or {"training": _NOT_STATED}),
        _section("Terms and provenance", asked),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in _LIMITS),
    ]
    return "\n\n".join(parts) + "\n"


def _identity(sae: Sae) -> dict[str, Any]:
    facts = sae.facts
    reads, writes = (", ".join(map(str, sites)) for sites in (facts.input_sites, facts.output_sites))
    return {
        "model": facts.model,
        "reads": reads,
        "rebuilds": writes,
        "layer": facts.site.layer,
        "width read": sae.d_in,
        "features": sae.d_sae,
        "activation": facts.activation + (f", k = {facts.k}" if facts.k else ""),
        "normalisation": "folded into the weights" if facts.normalize == "none" else f"of each token: {facts.normalize}",
        "linear skip": "no" if sae.W_skip is None else "yes",
        "context": facts.context or _NOT_STATED,
        "special tokens": "beginning of sequence in front, itself left out" if facts.bos else "none in front",
    }


def _section(title: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {_cell(key)} | {_cell(_value(value))} |" for key, value in rows.items()]
    return "\n".join([f"## {title}", "", "| | |", "| --- | --- |", *lines])


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items())
    return ", ".join(map(_value, value)) if isinstance(value, list | tuple) else str(value)


def _cell(text: str) -> str:
    """Text for a table's cell: what would end it, or begin markup, is taken literally."""
    for sign in "\\|<>`*_[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"
