"""EleutherAI sparsify: a folder per hookpoint with `cfg.json` and `sae.safetensors`.

``relu((x - b_dec) E' + e)``, the k largest per token; `b_dec` is not subtracted only where `transcode` is true. The decoder is stored by
feature, never transposed. The hookpoint is the folder's name; a transcoder reads that module's input.
"""

import json
import re
from pathlib import Path
from typing import Any

from hooke.errors import BadConfig, BadFile, unknown
from hooke.files import atomic_folder, write_safetensors
from hooke.sae import Sae, weights_of
from hooke.sae.facts import GROUPS_KEY
from hooke.sae.formats.parts import Parts, asked_site, check_parts, finish, number, weight, word
from hooke.sae.formats.sites import model_id, module_path, parse_hook
from hooke.sae.formats.source import Source

CONFIG, FILE = "cfg.json", "sae.safetensors"
_HOOKPOINT = re.compile(r"(?:^|/)((?:layers|h)\.\d{1,4}(?:\.[\w.]+)?|embed_tokens|embed_in)(?:/seed\d+)?/?$")
_ACTIVATIONS = ("topk", "groupmax")


def sniff(source: Source) -> bool:
    """`sae.safetensors` beside a `cfg.json`."""
    return source.file in ("", CONFIG, FILE) and {CONFIG, FILE} <= source.names


def read(source: Source) -> Sae:
    """The SAE or transcoder of one hookpoint."""
    config, run = source.json(CONFIG), _run_config(source)
    activation = word(source, config, "activation", "topk")
    if activation not in _ACTIVATIONS:
        raise unknown("sparsify activation", activation, _ACTIVATIONS, f"Asked by {source.where}.")
    found = source.tensors(FILE)
    skip = weight(source, found, "W_skip", 2).T if "W_skip" in found else None
    if config.get("skip_connection") is True and skip is None:
        raise BadFile(f"{source.where} says it has a skip connection, but holds no W_skip.")
    parts = Parts(
        weight(source, found, "encoder.weight", 2).T,
        weight(source, found, "encoder.bias", 1),
        weight(source, found, "W_dec", 2),
        weight(source, found, "b_dec", 1),
        W_skip=skip,
    )
    check_parts(source, parts)
    transcoder = config.get("transcode") is True or skip is not None
    if config.get("transcode") is not True:
        parts = parts.minus_b_dec()
    if config.get("signed") is True:
        parts = parts.both_signs()
        source.warn("top-k of absolute values: feature d_sae/2 + i is the negative side of feature i.")
    model = source.model or model_id(word(source, run, "model"))
    hook = _hookpoint(source, run)
    reads = asked_site(source, hook, model, side="input" if transcoder else "output")
    k = int(number(source, config, "k", 32))
    return finish(
        source,
        parts,
        reads,
        model.rpartition("/")[2] or "sparsify",
        "",
        [parse_hook(hook, model).site] if transcoder and hook else None,
        model=model,
        activation=activation,
        k=k,
        bos=False,
        context=int(number(source, run, "ctx_len", 0)),
        metrics={"l0": float(k)},
        groups=run.get(GROUPS_KEY, {}),
        training={"format": "sparsify", "dataset": word(source, run, "dataset")},
    )


def _run_config(source: Source) -> dict[str, Any]:
    """The run's own `config.json`, some folders up."""
    for up, folder in enumerate((source.folder, *source.folder.parents[:3])):
        if (folder / "config.json").is_file():
            found = Source(folder).json("config.json")
            if "sae" in found or "model" in found:
                return found
            if up:
                break
    source.warn("there is no config.json of the run: model and context are not known.")
    return {}


def _hookpoint(source: Source, run: dict[str, Any]) -> str:
    if m := _HOOKPOINT.search(source.folder.absolute().as_posix()):
        return m[1]
    points = run.get("hookpoints")
    return points[0] if isinstance(points, list) and len(points) == 1 and isinstance(points[0], str) else ""


def write(sae: Sae, path: Path) -> Path:
    """A folder ``<hookpoint>`` under `path` with `cfg.json` and `sae.safetensors`, and the run's `config.json` beside it."""
    facts = sae.facts
    if facts.activation == "jumprelu":
        raise BadConfig(f"{sae.name} has a threshold for every feature; sparsify files hold only a k. No faithful form.")
    if facts.normalize != "none" or sae.d_in != len(sae.b_dec) or len(facts.input_sites) + len(facts.output_sites) > 2:
        raise BadConfig(f"{sae.name} normalises its input or reads and writes different widths, which sparsify files cannot hold.")
    transcoder = facts.output_sites != facts.input_sites or sae.W_skip is not None
    hook, side = module_path(facts.output_sites[0] if transcoder else facts.site, facts.model)
    if side != "output" or (transcoder and parse_hook(hook, facts.model, side="input").site != str(facts.site)):
        raise BadConfig(f"{sae.name} reads {facts.site}; sparsify SAEs read a module's output, its transcoders the same module's input.")
    config = {
        "activation": facts.activation,
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": sae.d_sae,
        "k": facts.k,
        "multi_topk": False,
        "skip_connection": sae.W_skip is not None,
        "transcode": transcoder,
        "d_in": sae.d_in,
    }
    weights = {name: tensor.cpu() for name, tensor in weights_of(sae).items()}
    bias = weights["b_enc"] if transcoder else weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    tensors = {"encoder.weight": weights["W_enc"].T, "encoder.bias": bias, "W_dec": weights["W_dec"], "b_dec": weights["b_dec"]}
    if "W_skip" in weights:
        tensors["W_skip"] = weights["W_skip"].T
    run = {"model": facts.model, "ctx_len": facts.context, "dataset": facts.training.get("dataset"), "hookpoints": [hook], "sae": config}
    run |= {GROUPS_KEY: facts.groups} if facts.groups else {}
    with atomic_folder(path) as folder:
        (folder / hook).mkdir()
        write_safetensors(folder / hook / FILE, tensors, {})
        (folder / hook / CONFIG).write_text(json.dumps(config))
        (folder / "config.json").write_text(json.dumps(run, indent=2) + "\n")
    return path / hook
