"""Do SAELens and sparsify open what Hooke writes, and do both give the same codes? Run with their own Python.

    hooke's python: benchmarks/peers.py write FOLDER     SAEs of every family, inputs, and what Hooke makes of them
    their python:   benchmarks/peers.py check FOLDER     the same through SAELens and sparsify, compared

Where SAELens is known to be wrong the difference is expected, and a reason is printed instead of a failure.
"""

import json
import sys
from pathlib import Path

import torch

TOLERANCE = 1e-5
# Case -> why SAELens differs.
WRONG = {
    "sparsify": "it reads W_dec transposed and decides by normalize_decoder whether b_dec is subtracted",
    "dictionary_learning AutoEncoderNew": "it takes decoder.bias for a pre-encoder bias that is missing",
    "gemma-scope embedding": "it leaves b_dec unscaled when it scales the decoder",
    "circuit-tracer jumprelu": "its reader of these sets knows neither skips nor thresholds",
    "llama scope": "it does not fold decoder norms, so its activations are scaled by them and thresholds act elsewhere",
    "llama scope transcoder": "it folds the input norm alone and no decoder norms",
    "dictionary_learning AutoEncoder": "it does not bring decoder rows to length 1: same reconstruction, other activations",
}


def write(folder: Path) -> None:
    """Every published fixture with Hooke's codes and reconstructions, and Hooke's own SAEs written for the peers."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    import published

    from hooke.sae import Sae, SaeFacts
    from hooke.sae.formats import open_sae, write_sae

    cases = {}
    for i, (name, make) in enumerate(published.CASES.items()):
        made = make(folder / "theirs" / str(i))
        cases[name] = (_results(open_sae(made.path, member=made.member), str(made.path)), "read")
    w = published.weights(40)
    for activation, theirs, dialect in OURS:
        transcoder, relu = "transcoder" in theirs, "jumprelu" not in theirs
        facts = SaeFacts(
            "ours/mlp_in.2/20" if transcoder else "ours/resid_post.2/20",
            "google/gemma-2-2b" if dialect == "gemma-scope" else "EleutherAI/pythia-70m-deduped",
            activation=activation,
            k=None if activation == "jumprelu" else 4,
            writes=["mlp_out.2"] if transcoder else [],
            context=128,
            normalize="layer_norm" if theirs == "layer_norm" else "rms" if theirs == "rms" else "none",
        )
        threshold = (
            torch.zeros(published.F) if (relu and theirs not in ("rms", "layer_norm")) or activation != "jumprelu" else w["threshold"]
        )
        skip = w["W_skip"] if "skip" in theirs else None
        sae = Sae(w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"], threshold, facts, skip)
        path = write_sae(sae, folder / "ours" / f"{dialect}-{theirs}", dialect)
        cases[f"written {dialect} {theirs}"] = (_results(sae, str(path)), dialect)
    torch.save(cases, folder / "cases.pt")
    print(f"{len(cases)} cases under {folder}")


OURS = [
    ("jumprelu", "standard", "saelens"),
    ("jumprelu", "jumprelu", "saelens"),
    ("topk", "topk", "saelens"),
    ("jumprelu", "layer_norm", "saelens"),
    ("jumprelu", "rms", "saelens"),
    ("jumprelu", "transcoder", "saelens"),
    ("jumprelu", "skip_transcoder", "saelens"),
    ("jumprelu", "jumprelu_transcoder", "saelens"),
    ("jumprelu", "jumprelu_skip_transcoder", "saelens"),
    ("topk", "topk", "sparsify"),
    ("groupmax", "groupmax", "sparsify"),
    ("topk", "skip_transcoder", "sparsify"),
    ("jumprelu", "jumprelu", "gemma-scope"),
    ("jumprelu", "jumprelu", "gemma-scope-2"),
    ("jumprelu", "jumprelu_skip_transcoder", "gemma-scope-2"),
]


def _results(sae, path: str) -> dict:
    x = 2 * torch.randn(50, sae.d_in, generator=torch.Generator().manual_seed(7))
    return {"path": path, "x": x, "codes": sae.encode(x).dense(), "rebuilt": sae.reconstruct(x)}


def check(folder: Path) -> None:
    """Compare; exit with 1 on a difference nobody expects."""
    import warnings

    warnings.simplefilter("ignore")
    failed = 0
    for name, (case, dialect) in torch.load(folder / "cases.pt").items():
        for peer, opened in _openers(name, dialect, Path(case["path"])).items():
            try:
                codes, rebuilt = opened(case["x"])
            except Exception as error:
                codes, rebuilt, said = None, None, f"{type(error).__name__}: {str(error)[:150]}"
            expected = case["codes"]
            if codes is not None and codes.shape[1] * 2 == expected.shape[1]:  # both signs
                codes = torch.cat([codes.clamp_min(0), (-codes).clamp_min(0)], 1)
            if codes is not None:
                scale = max(1.0, float(expected.abs().max()))
                off = float((codes - expected).abs().max()) / scale, float((rebuilt - case["rebuilt"]).abs().max()) / scale
                said = f"codes {off[0]:.1e}, reconstructions {off[1]:.1e}"
            good = codes is not None and max(off) <= TOLERANCE
            reason = WRONG["sparsify"] if "sparsify" in name and peer == "saelens" else WRONG.get(name, "")
            verdict = "agree" if good else f"differ as known: {reason}" if reason and peer == "saelens" else "DIFFER"
            failed += verdict == "DIFFER"
            print(f"{name:45} {peer:9} {verdict:8} ({said})")
    print(f"{failed} unexpected differences")
    sys.exit(failed > 0)


def _openers(name: str, dialect: str, path: Path) -> dict:
    family = name.split()[1] if name.startswith("written") else name.split()[0]
    if family == "saelens":
        return {"saelens": lambda x: _saelens(path, x)}
    if family == "sparsify":
        theirs = {"sparsify": lambda x: _sparsify(path, x)}
        return theirs | ({} if "groupmax" in name else {"saelens": lambda x: _converted("sparsify", name, path, x)})
    converted = {
        "gemma-scope",
        "gemma-scope-2",
        "dictionary_learning",
        "llama",
        "qwen",
        "goodfire",
        "qresearch",
        "hook_z",
        "circuit-tracer",
    }
    if family in converted and not any(word in name for word in ("clt", "crosscoder", "backup", "without config")):
        return {"saelens": lambda x: _converted(family, name, path, x)}
    return {}


def _run(sae, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sae.eval()
    with torch.no_grad():
        codes = sae.encode(x)
        return (codes.to_dense() if codes.is_sparse else codes), sae(x)


def _saelens(path: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from sae_lens import SAE

    sae = SAE.load_from_disk(path)
    flat = getattr(sae, "turn_off_forward_pass_hook_z_reshaping", None)
    if flat and sae.cfg.reshape_activations == "hook_z":
        flat()
    return _run(sae, x)


def _sparsify(path: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(path, device="cpu")
    with torch.no_grad():
        out = coder.encode(x)
        codes = torch.zeros(len(x), coder.num_latents).scatter(1, out.top_indices, out.top_acts)
        return codes, coder(x).sae_out


def _converted(family: str, name: str, path: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Through SAELens' loader for the family, its downloads answered from the folder."""
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.saes.sae import SAE

    folder = path if path.is_dir() else path.parent
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}

    def download(repo_id, filename=None, subfolder=None, **_):
        wanted = filename if subfolder is None else f"{subfolder}/{filename}"
        for known, file in files.items():
            if f"/{wanted}".endswith(f"/{known}"):
                return str(file)
        raise FileNotFoundError(wanted)

    loaders.hf_hub_download = download
    loaders.get_safetensors_tensor_shapes = lambda _, filename: _shapes(Path(download(_, filename)))
    repo, sub, load = _loader(family, name, path, loaders)
    config, state, _ = load(repo, sub, device="cpu", force_download=False, cfg_overrides=None)
    # Widths are guessed from published names; these fixtures are small.
    config |= {"device": "cpu", "dtype": "float32", "d_in": state["W_enc"].shape[0], "d_sae": state["W_enc"].shape[1]}
    if "d_out" in config:
        config["d_out"] = state["W_dec"].shape[1]
    sae = SAE.from_dict(loaders.handle_config_defaulting(dict(config)))
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict({key: value.float() for key, value in state.items()})
    if family == "llama" and "r1" not in name:
        sae.fold_activation_norm_scaling_factor(json.loads((path / "hyperparams.json").read_text())["d_model"] ** 0.5 / 6.3125)
    if getattr(sae.cfg, "reshape_activations", "none") == "hook_z":
        sae.turn_off_forward_pass_hook_z_reshaping()
    if name.endswith("transcoders"):
        x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return _run(sae, x)


def _shapes(path: Path) -> dict[str, list[int]]:
    raw = path.read_bytes()
    return {name: entry["shape"] for name, entry in json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]).items() if name[0] != "_"}


def _loader(family: str, name: str, path: Path, loaders):
    """Repository and folder as published, and SAELens' function."""
    if family == "gemma-scope":
        kind = [part for part in path.parts if "gemma-scope-" in part][-1].split("--")[-1]
        transcoders = kind.endswith("transcoders")
        load = loaders.gemma_2_transcoder_huggingface_loader if transcoders else loaders.gemma_2_sae_huggingface_loader
        return f"google/{kind}", "/".join((path if path.is_dir() else path.parent).parts[-3:]), load
    if family == "gemma-scope-2":
        return "google/gemma-scope-2-270m-pt", "/".join(path.parts[-2:]), loaders.gemma_3_sae_huggingface_loader
    if family == "dictionary_learning":
        return "any/repo", "sweep", loaders.dictionary_learning_sae_huggingface_loader_1
    if family == "llama":
        r1 = "r1" in name
        return (
            "fnlp/any",
            path.name,
            loaders.llama_scope_r1_distill_sae_huggingface_loader if r1 else loaders.llama_scope_sae_huggingface_loader,
        )
    if family == "qwen":
        return "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_3", "layer10.sae.pt", loaders.qwen_scope_sae_huggingface_loader
    if family == "circuit-tracer":
        return "mwhanna/any", "layer_1.safetensors", loaders.mwhanna_transcoder_huggingface_loader
    if family == "goodfire":
        return "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", path.name, loaders.get_goodfire_huggingface_loader
    if family == "qresearch":
        return "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19", path.name, loaders.deepseek_r1_sae_huggingface_loader
    if family == "hook_z":
        return "ckkissane/any", path.name, loaders.connor_rob_hook_z_huggingface_loader
    return "EleutherAI/any", path.name, loaders.sparsify_huggingface_loader


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](Path(sys.argv[2]))
