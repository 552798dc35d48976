"""Small SAEs in every published layout, each with its authors' formula written out: what a reader must give."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

D, F = 6, 20
Formula = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Published:
    """A published SAE on disk."""

    path: Path
    """What to open."""
    formula: Formula
    """Activations in, dense codes and reconstruction out."""
    site: str
    """Where it reads."""
    model: str
    """Whose activations."""
    writes: str = ""
    """What it rebuilds, where that is another site."""
    member: str | None = None
    """Which of several."""
    dialect: str = ""
    """What the sniffer must say."""


def weights(seed: int = 0, d_in: int = D, d_out: int | None = None, f: int = F) -> dict[str, Tensor]:
    """Weights in the orientation of Gemma Scope."""
    g = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    d_out = d_out or d_in
    return {
        "W_enc": random(d_in, f),
        "b_enc": random(f) * 0.3,
        "W_dec": random(f, d_out),
        "b_dec": random(d_out),
        "threshold": random(f).abs(),
        "W_skip": random(d_in, d_out),
    }


def unit(W_dec: Tensor) -> Tensor:
    return W_dec / W_dec.norm(dim=1, keepdim=True)


def jump(h: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    return torch.where((h > threshold) & (h > 0), h, torch.zeros_like(h))


def top(h: Tensor, k: int) -> Tensor:
    value, index = h.topk(k, dim=-1)
    return torch.zeros_like(h).scatter(-1, index, value.clamp_min(0))


def put(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def text(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def pt(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)


def plain(w: dict[str, Tensor], act: Callable[[Tensor], Tensor], *, subtract: bool = False, skip: bool = False) -> Formula:
    """``act((x - b_dec?) W_enc + b_enc) W_dec + b_dec (+ x W_skip)``."""

    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        a = act((x - w["b_dec"] if subtract else x) @ w["W_enc"] + w["b_enc"])
        y = a @ w["W_dec"] + w["b_dec"]
        return a, y + x @ w["W_skip"] if skip else y

    return formula


def rms(x: Tensor, eps: float = 0.0) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


# Gemma Scope


def gemma_scope(root: Path, kind: str = "res") -> Published:
    w = weights(1)
    folder = root / f"models--google--gemma-scope-2b-pt-{kind}" / "layer_3/width_16k/average_l0_7"
    folder.mkdir(parents=True)
    arrays = {name: w[name].numpy() for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    (np.savez_compressed if kind == "mlp" else np.savez)(folder / "params.npz", **arrays)
    site = {"res": "resid_post.3", "att": "attn_z.3", "mlp": "mlp_out.3", "transcoders": "resid_mid.3"}[kind]
    raw = plain(w, lambda h: jump(h, w["threshold"]))
    formula = (lambda x: raw(rms(x, 1e-6))) if kind == "transcoders" else raw
    return Published(folder, formula, site, "google/gemma-2-2b", "mlp_out.3" if kind == "transcoders" else "", dialect="gemma-scope")


def gemma_scope_embedding(root: Path) -> Published:
    w = weights(2)
    folder = root / "gemma-scope-9b-pt-res" / "embedding/width_4k/average_l0_14"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{name: w[name].numpy() for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")})

    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        a, y = plain(w, lambda h: jump(h, w["threshold"]))(x / D**0.5)
        return a, y * D**0.5

    return Published(folder / "params.npz", formula, "resid_pre.0", "google/gemma-2-9b", dialect="gemma-scope")


# Gemma Scope 2


def gemma_scope_2(root: Path, kind: str = "resid_post", affine: bool = False, config: bool = True) -> Published:
    w = weights(3, d_out=D)
    name = f"layer_5_width_16k_l0_small{'_affine' if affine else ''}"
    folder = root / "gemma-scope-2-270m-pt" / kind / name
    lower = {"W_enc": "w_enc", "W_dec": "w_dec", "W_skip": "affine_skip_connection"}
    put(folder / "params.safetensors", {lower.get(key, key): t for key, t in w.items() if affine or key != "W_skip"})
    hooks = {
        "resid_post": ("model.layers.5.output",) * 2,
        "attn_out": ("model.layers.5.self_attn.o_proj.input",) * 2,
        "mlp_out": ("model.layers.5.post_feedforward_layernorm.output",) * 2,
        "transcoder_all": ("model.layers.5.pre_feedforward_layernorm.output", "model.layers.5.post_feedforward_layernorm.output"),
    }[kind]
    if config:
        settings = {"hf_hook_point_in": hooks[0], "hf_hook_point_out": hooks[1], "width": F, "model_name": "google/gemma-3-270m-pt"}
        text(folder / "config.json", settings | {"architecture": "jump_relu", "l0": 7, "affine_connection": affine, "type": "sae"})
    site = {"resid_post": "resid_post.5", "attn_out": "attn_z.5", "mlp_out": "mlp_out.5", "transcoder_all": "mlp_in.5"}[kind]
    formula = plain(w, lambda h: jump(h, w["threshold"]), skip=affine)
    writes = "mlp_out.5" if kind == "transcoder_all" else ""
    return Published(folder, formula, site, "google/gemma-3-270m", writes, dialect="gemma-scope-2")


def gemma_scope_2_many(root: Path, kind: str = "clt") -> Published:
    """Every layer's encoder on its own, decoders into all: the sum written out."""
    count, name = (3, "clt/width_262k_l0_medium_affine") if kind == "clt" else (4, "crosscoder/layer_7_13_17_22_width_65k_l0_medium")
    each = [weights(seed) for seed in range(count)]
    folder = root / "gemma-scope-2-1b-it" / name
    decoders = [torch.randn(F, count, D, generator=torch.Generator().manual_seed(9 + i)) for i in range(count)]
    for i, w in enumerate(each):
        tensors = {"w_enc": w["W_enc"], "w_dec": decoders[i], "b_enc": w["b_enc"], "threshold": w["threshold"], "b_dec": w["b_dec"]}
        put(folder / f"params_layer_{i}.safetensors", tensors | ({"affine_skip_connection": w["W_skip"]} if kind == "clt" else {}))

    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        parts = x.split(D, dim=1)
        codes = [jump(part @ w["W_enc"] + w["b_enc"], w["threshold"]) for part, w in zip(parts, each, strict=True)]
        out = []
        for j, w in enumerate(each):
            y = w["b_dec"] + sum(a @ decoders[i][:, j] for i, a in enumerate(codes))
            out.append(y + parts[j] @ w["W_skip"] if kind == "clt" else y)
        return torch.cat(codes, 1), torch.cat(out, 1)

    site = "mlp_in.0" if kind == "clt" else "resid_post.7"
    return Published(folder, formula, site, "google/gemma-3-1b-it", dialect="gemma-scope-2")


# SAELens


def saelens(root: Path, architecture: str = "jumprelu", old: bool = False, **more: object) -> Published:
    w, folder = weights(4), root / f"saelens-{architecture}"
    skip, transcoder = "skip" in architecture, "transcoder" in architecture
    subtract = not transcoder and more.get("apply_b_dec_to_input", True) is not False
    names = [
        "W_enc",
        "W_dec",
        "b_dec",
        *([] if architecture == "gated" else ["b_enc"]),
        *(["threshold"] if "jumprelu" in architecture else []),
    ]
    tensors = {name: w[name] for name in names}
    if skip:
        tensors["W_skip"] = w["W_skip"].T
    norm = w["W_dec"].norm(dim=1)
    act: Callable[[Tensor], Tensor] = jump
    if "jumprelu" in architecture:
        act = lambda h: jump(h, w["threshold"])  # noqa: E731
    elif architecture == "topk":
        act = (lambda h: top(h * norm, 3)) if more.get("rescale_acts_by_decoder_norm") else (lambda h: top(h, 3))
    formula = plain(w, act, subtract=subtract, skip=skip)
    if architecture == "gated":
        g = weights(5)
        gate = {"b_gate": g["b_enc"], "b_mag": g["b_enc"].flip(0), "r_mag": g["b_enc"] * 0.5}
        tensors |= gate

        def formula(x: Tensor) -> tuple[Tensor, Tensor]:
            x = x - w["b_dec"] if subtract else x
            on = x @ w["W_enc"] + gate["b_gate"] > 0
            a = on * torch.relu(x @ (w["W_enc"] * gate["r_mag"].exp()) + gate["b_mag"])
            return a, a @ w["W_dec"] + w["b_dec"]

    if architecture == "abstopk":
        formula = _abstopk(w)
    if more.get("rescale_acts_by_decoder_norm"):
        plain_formula = formula
        formula = lambda x: (a := plain_formula(x)[0], a / norm @ w["W_dec"] + w["b_dec"])  # noqa: E731
    if more.get("normalize_activations") in ("layer_norm", "constant_norm_rescale"):
        formula = _normalized(formula, str(more["normalize_activations"]))
    if scale := more.pop("scale", ""):  # on activations, learnt after everything else
        tensors[str(scale)] = factor = 1 + w["b_enc"]
        whole = formula
        formula = lambda x: (a := whole(x)[0], a * factor @ w["W_dec"] + w["b_dec"])  # noqa: E731
    put(folder / "sae_weights.safetensors", tensors)
    hook = "blocks.2.mlp.hook_in" if transcoder else "blocks.2.hook_resid_post"
    place = {"hook_name": hook, "model_name": "gpt2-small", "context_size": 128, "prepend_bos": True}
    config = {"architecture": architecture, "d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu", **more}
    if "topk" in architecture:
        config["k"] = 3
    if transcoder:
        config |= {"d_out": D, "apply_b_dec_to_input": False}
        place["hook_name_out"] = "blocks.2.hook_mlp_out"
    if old:
        place["hook_point"] = place.pop("hook_name")
        kwargs = (
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "architecture": "standard"} if architecture == "topk" else {}
        )
        text(folder / "cfg.json", config | place | kwargs)
    else:
        text(folder / "cfg.json", config | {"metadata": place | {"sae_lens_version": "6.18.0"}})
    site = "mlp_in.2" if transcoder else "resid_post.2"
    return Published(folder, formula, site, "gpt2", "mlp_out.2" if transcoder else "", dialect="saelens")


def _abstopk(w: dict[str, Tensor]) -> Formula:
    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        h = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
        index = h.abs().topk(3, dim=-1).indices
        a = torch.zeros_like(h).scatter(-1, index, h.gather(-1, index))
        return torch.cat([a.clamp_min(0), (-a).clamp_min(0)], 1), a @ w["W_dec"] + w["b_dec"]

    return formula


def _normalized(formula: Formula, how: str) -> Formula:
    def wrapped(x: Tensor) -> tuple[Tensor, Tensor]:
        if how == "constant_norm_rescale":
            c = x.shape[1] ** 0.5 / x.norm(dim=-1, keepdim=True)
            a, y = formula(x * c)
            return a, y / c
        mu = x.mean(-1, keepdim=True)
        std = (x - mu).std(-1, keepdim=True)
        a, y = formula((x - mu) / (std + 1e-5))
        return a, y * std + mu if how == "layer_norm" else y

    return wrapped


# sparsify, dictionary_learning


def sparsify(root: Path, transcoder: bool = False, activation: str = "topk", **more: object) -> Published:
    w, run = weights(6), root / "run"
    folder = run / ("layers.2.mlp" if transcoder else "layers.2")
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    if transcoder:
        tensors["W_skip"] = w["W_skip"].T
    put(folder / "sae.safetensors", tensors)
    settings = {"activation": activation, "num_latents": F, "k": 4, "skip_connection": transcoder, "transcode": transcoder, "d_in": D}
    text(folder / "cfg.json", settings | more)
    text(run / "config.json", {"model": "meta-llama/Llama-3.2-1B", "ctx_len": 2048, "sae": {}})

    def groups(h: Tensor) -> Tensor:
        h = torch.relu(h).reshape(len(h), 4, F // 4)
        return torch.where(h == h.amax(-1, keepdim=True), h, torch.zeros_like(h)).reshape(len(h), F)

    act = groups if activation == "groupmax" else lambda h: top(h, 4)
    formula = plain(w, act, subtract=not transcoder, skip=transcoder)
    site = "mlp_in.2" if transcoder else "resid_post.2"
    return Published(folder, formula, site, "meta-llama/Llama-3.2-1B", "mlp_out.2" if transcoder else "", dialect="sparsify")


def dictionary_learning(root: Path, kind: str = "AutoEncoderTopK", backup: bool = False) -> Published:
    w, folder = weights(7), root / "sweep" / "mlp_out_layer_3" / "trainer_0"
    linear = {"encoder.weight": w["W_enc"].T.contiguous(), "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T.contiguous()}
    flat = {name: w[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    norm, theta = w["W_dec"].norm(dim=1), torch.tensor(0.4)
    relu = plain(w, jump, subtract=kind == "AutoEncoder")
    g = weights(8)["b_enc"]
    k = torch.tensor(3, dtype=torch.int32)

    def gated(x: Tensor) -> tuple[Tensor, Tensor]:
        z = (x - w["b_dec"]) @ w["W_enc"]
        a = (z + g > 0) * torch.relu((g * 0.5).exp() * z + w["b_enc"])
        return a, a @ w["W_dec"] + w["b_dec"]

    state, formula = {
        "AutoEncoder": ({**linear, "bias": w["b_dec"]}, lambda x: (relu(x)[0] * norm, relu(x)[1])),
        "AutoEncoderNew": ({**linear, "decoder.bias": w["b_dec"]}, lambda x: (relu(x)[0] * norm, relu(x)[1])),
        "GatedAutoEncoder": (
            {
                "decoder_bias": w["b_dec"],
                "encoder.weight": linear["encoder.weight"],
                "r_mag": g * 0.5,
                "gate_bias": g,
                "mag_bias": w["b_enc"],
                "decoder.weight": linear["decoder.weight"],
            },
            gated,
        ),
        "JumpReluAutoEncoder": ({**flat, "threshold": w["threshold"]}, plain(w, lambda h: jump(h, w["threshold"]))),
        "AutoEncoderTopK": ({**linear, "b_dec": w["b_dec"], "k": k, "threshold": theta}, plain(w, lambda h: top(h, 3), subtract=True)),
        "BatchTopKSAE": ({**linear, "b_dec": w["b_dec"], "k": k, "threshold": theta}, plain(w, lambda h: jump(h, theta), subtract=True)),
        "MatryoshkaBatchTopKSAE": (
            {**flat, "k": k, "threshold": theta, "group_sizes": torch.tensor([F // 2, F // 2])},
            plain(w, lambda h: jump(h, theta), subtract=True),
        ),
    }[kind]
    pt(folder / "ae.pt", {"step": 5, "ae": state, "norm_factor": 1.5} if backup else state)
    trainer = {"dict_class": kind, "layer": 3, "lm_name": "EleutherAI/pythia-70m-deduped", "submodule_name": "mlp_out_layer_3", "k": 3}
    trainer |= {"activation_dim": D, "dict_size": F}
    text(folder / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
    return Published(folder, formula, "mlp_out.3", "EleutherAI/pythia-70m-deduped", dialect="dictionary_learning")


# OpenAI, OpenMOSS, Qwen, circuit-tracer, single files


def openai(root: Path, topk: bool = True) -> Published:
    w = weights(10)
    path = root / "gpt2-small" / f"resid_delta_mlp_{'v5_32k' if topk else 'v4'}" / "autoencoders" / "8.pt"
    state: dict[str, object] = {
        "pre_bias": w["b_dec"],
        "encoder.weight": w["W_enc"].T.contiguous(),
        "latent_bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T.contiguous(),
        "stats_last_nonzero": torch.zeros(F, dtype=torch.int64),
    }
    act: Callable[[Tensor], Tensor] = (lambda h: top(h, 3)) if topk else jump
    state |= {"activation": "TopK", "activation_state_dict": {"k": 3, "postact_fn": "ReLU"}} if topk else {"activation": "ReLU"}
    pt(path, state)
    formula = plain(w, act, subtract=True)
    return Published(path, _normalized(formula, "layer_norm") if topk else formula, "mlp_out.8", "gpt2", dialect="openai")


def llama_scope(root: Path, transcoder: bool = False) -> Published:
    w, folder = weights(11), root / "Llama3_1-8B-Base-L3R-8x"
    norms = {"in": 64.0, "out": 3.39} if transcoder else {"in": 6.3125, "out": 6.3125}
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T, "decoder.bias": w["b_dec"]}
    put(folder / "checkpoints" / "final.safetensors", tensors)
    hook_in, hook_out = ("blocks.3.ln2.hook_normalized", "blocks.3.hook_mlp_out") if transcoder else ("blocks.3.hook_resid_post",) * 2
    config = {"hook_point_in": hook_in, "hook_point_out": hook_out, "d_model": D, "d_sae": F, "act_fn": "jumprelu", "top_k": 50}
    config |= {"jump_relu_threshold": 0.35, "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True}
    text(folder / "hyperparams.json", config | {"dataset_average_activation_norm": norms})

    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        x = rms(x, 1e-5) if transcoder else x
        s_in, s_out = D**0.5 / norms["in"], D**0.5 / norms["out"]
        W, b = w["W_enc"], w["b_enc"] / s_in
        decoder = w["W_dec"] * (s_in / s_out)
        r = decoder.norm(dim=1)
        a = jump(x @ (W * r) + b * r, 0.35)
        return a, a @ (decoder / r[:, None]) + w["b_dec"] / s_out

    site = "resid_mid.3" if transcoder else "resid_post.3"
    return Published(folder, formula, site, "meta-llama/Llama-3.1-8B", "mlp_out.3" if transcoder else "", dialect="llama-scope")


def openmoss(root: Path, r1: bool = False) -> Published:
    w, log = weights(12), weights(12)["threshold"].log()
    folder = root / "Llama-Scope-R1-Distill" / "L3R"
    if r1:
        linear = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T, "decoder.bias": w["b_dec"]}
        put(folder / "sae_weights.safetensors", linear | {"log_jumprelu_threshold": log})
        text(folder / "config.json", {"d_model": D, "expansion_factor": 8, "hook_point_in": "blocks.3.hook_resid_post"})
        formula = plain(w, lambda h: jump(h, log.exp()))
        return Published(folder, formula, "resid_post.3", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", dialect="openmoss")
    names = {"W_E": "W_enc", "b_E": "b_enc", "W_D": "W_dec", "b_D": "b_dec"}
    hook, norm = "blocks.3.hook_resid_post", torch.tensor(6.25)
    tensors = {theirs: w[ours] for theirs, ours in names.items()} | {f"dataset_average_activation_norm.{hook}": norm}
    put(folder / "sae_weights.safetensors", tensors | {"activation_function.log_jumprelu_threshold": log})
    config = {"sae_type": "sae", "d_model": D, "hook_point_in": hook, "hook_point_out": hook, "act_fn": "jumprelu"}
    text(folder / "config.json", config | {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True})

    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        s = D**0.5 / float(norm)
        h = (x @ w["W_enc"] + w["b_enc"] / s) * w["W_dec"].norm(dim=1)
        a = jump(h, log.exp())
        return a, a / w["W_dec"].norm(dim=1) @ w["W_dec"] + w["b_dec"] / s

    return Published(folder, formula, "resid_post.3", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", dialect="openmoss")


def openmoss_cross(root: Path) -> Published:
    count, folder, g = 3, root / "clt-openmoss", torch.Generator().manual_seed(44)
    each = [weights(seed) for seed in range(24, 24 + count)]
    decoders = [torch.randn(j + 1, F, D, generator=g) for j in range(count)]
    tensors = {"W_E": torch.stack([w["W_enc"] for w in each]), "b_E": torch.stack([w["b_enc"] for w in each])}
    tensors |= {f"W_D.{j}": decoders[j] for j in range(count)} | {f"b_D.{j}": each[j]["b_dec"] for j in range(count)}
    log = torch.stack([w["threshold"].log() for w in each])
    put(folder / "sae_weights.safetensors", tensors | {"activation_function.log_jumprelu_threshold": log})
    sides = {"in": "hook_resid_mid", "out": "hook_mlp_out"}
    hooks = {f"hook_points_{side}": [f"blocks.{i}.{hook}" for i in range(count)] for side, hook in sides.items()}
    config = {"sae_type": "clt", "act_fn": "jumprelu", "norm_activation": "inference", "sparsity_include_decoder_norm": False}
    text(folder / "config.json", config | hooks | {"model_name": "Qwen/Qwen3-1.7B"})

    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        codes = [jump(part @ w["W_enc"] + w["b_enc"], log[i].exp()) for i, (part, w) in enumerate(zip(x.split(D, 1), each, strict=True))]
        out = [each[j]["b_dec"] + sum(codes[i] @ decoders[j][i] for i in range(j + 1)) for j in range(count)]
        return torch.cat(codes, 1), torch.cat(out, 1)

    return Published(folder, formula, "resid_mid.0", "Qwen/Qwen3-1.7B", dialect="openmoss")


def qwen_scope(root: Path) -> Published:
    w, folder = weights(13), root / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_50"
    state = {"W_enc": w["W_enc"].T.contiguous(), "W_dec": w["W_dec"].T.contiguous(), "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    for layer in (3, 10):
        pt(folder / f"layer{layer}.sae.pt", state)
    config = {"model_type": "topk_sae", "base_model": "Qwen/Qwen3-1.7B-Base", "d_model": D, "d_sae": F, "k": 3, "hook_point": "resid_post"}
    text(folder / "config.json", config)
    return Published(folder, plain(w, lambda h: top(h, 3)), "resid_post.10", "Qwen/Qwen3-1.7B-Base", "", "layer10", "qwen-scope")


def circuit_tracer(root: Path, threshold: bool = False) -> Published:
    w, folder = weights(14), root / "transcoders"
    for layer in range(2):
        tensors = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
        extra = {"activation_function.threshold": torch.tensor([0.3]), "W_skip": w["W_skip"].T} if threshold else {}
        put(folder / f"layer_{layer}.safetensors", tensors | extra)
    hooks = "feature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n"
    text(folder / "config.yaml", f"model_name: meta-llama/Llama-3.2-1B\nmodel_kind: transcoder_set\n{hooks}")
    text(folder / "wandb-config.yaml", f"d_model:\n  value: {D}\nd_feature:\n  value: {F}\nbatch_size:\n  value: 64\n")
    formula = plain(w, lambda h: jump(h, 0.3 if threshold else 0.0), skip=threshold)
    return Published(folder, formula, "resid_mid.1", "meta-llama/Llama-3.2-1B", "mlp_out.1", "layer_1", "circuit-tracer")


def circuit_tracer_cross(root: Path) -> Published:
    count, each, folder = 3, [weights(seed) for seed in range(20, 23)], root / "clt"
    decoders = [torch.randn(F, count - i, D, generator=torch.Generator().manual_seed(30 + i)) for i in range(count)]
    for i, w in enumerate(each):
        named = {f"W_enc_{i}": w["W_enc"].T, f"b_enc_{i}": w["b_enc"], f"b_dec_{i}": w["b_dec"], f"threshold_{i}": w["threshold"]}
        put(folder / f"W_enc_{i}.safetensors", named)
        put(folder / f"W_dec_{i}.safetensors", {f"W_dec_{i}": decoders[i]})
    hooks = "feature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n"
    text(folder / "config.yaml", f"model_name: google/gemma-2-2b\nmodel_kind: cross_layer_transcoder\n{hooks}")

    def formula(x: Tensor) -> tuple[Tensor, Tensor]:
        codes = [jump(part @ w["W_enc"] + w["b_enc"], w["threshold"]) for part, w in zip(x.split(D, 1), each, strict=True)]
        out = [each[j]["b_dec"] + sum(codes[i] @ decoders[i][:, j - i] for i in range(j + 1)) for j in range(count)]
        return torch.cat(codes, 1), torch.cat(out, 1)

    return Published(folder, formula, "resid_mid.0", "google/gemma-2-2b", dialect="circuit-tracer-clt")


def goodfire(root: Path) -> Published:
    w, path = weights(15), root / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    linear = {"encoder_linear.weight": w["W_enc"].T.contiguous(), "encoder_linear.bias": w["b_enc"]}
    pt(path, linear | {"decoder_linear.weight": w["W_dec"].T.contiguous(), "decoder_linear.bias": w["b_dec"]})
    return Published(path, plain(w, jump), "resid_post.19", "meta-llama/Llama-3.1-8B-Instruct", dialect="linear")


def qresearch(root: Path) -> Published:
    w, path = weights(16), root / "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    w = {name: tensor.bfloat16().float() for name, tensor in w.items()}
    linear = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T, "decoder.bias": w["b_dec"]}
    pt(path, {name: tensor.bfloat16() for name, tensor in linear.items()})
    return Published(path, plain(w, jump), "resid_post.19", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", dialect="linear")


def hook_z(root: Path) -> Published:
    w, path = weights(17), root / "gpt2-small_L5_Hcat_z_lr1.20e-03_l11.80e+00_ds24576_v9.pt"
    pt(path, {name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")})
    text(root / f"{path.stem}_cfg.json", {"act_size": D, "dict_size": F, "act_name": "blocks.5.attn.hook_z"})
    return Published(path, plain(w, jump, subtract=True), "attn_z.5", "gpt2", dialect="hook-z")


CASES: dict[str, Callable[[Path], Published]] = {
    **{f"gemma-scope {kind}": lambda root, kind=kind: gemma_scope(root, kind) for kind in ("res", "att", "mlp", "transcoders")},
    "gemma-scope embedding": gemma_scope_embedding,
    **{f"gemma-scope-2 {k}": lambda root, k=k: gemma_scope_2(root, k) for k in ("resid_post", "attn_out", "mlp_out", "transcoder_all")},
    "gemma-scope-2 affine": lambda root: gemma_scope_2(root, "transcoder_all", affine=True),
    "gemma-scope-2 without config": lambda root: gemma_scope_2(root, "transcoder_all", affine=True, config=False),
    "gemma-scope-2 clt": gemma_scope_2_many,
    "gemma-scope-2 crosscoder": lambda root: gemma_scope_2_many(root, "crosscoder"),
    **{
        f"saelens {name}": lambda root, name=name: saelens(root, name)
        for name in ("standard", "topk", "abstopk", "jumprelu", "gated", "transcoder", "skip_transcoder", "jumprelu_transcoder")
    },
    "saelens jumprelu_skip_transcoder": lambda root: saelens(root, "jumprelu_skip_transcoder"),
    "saelens old standard": lambda root: saelens(root, "standard", old=True),
    "saelens old topk": lambda root: saelens(root, "topk", old=True),
    **{
        f"saelens {name}": lambda root, name=name: saelens(root, "standard", old=True, scale=name)
        for name in ("scaling_factor", "finetuning_scaling_factor")
    },
    "saelens no b_dec": lambda root: saelens(root, "standard", apply_b_dec_to_input=False),
    "saelens rescaled topk": lambda root: saelens(root, "topk", rescale_acts_by_decoder_norm=True),
    "saelens layer_norm": lambda root: saelens(root, "topk", normalize_activations="layer_norm"),
    "saelens constant_norm_rescale": lambda root: saelens(root, "jumprelu", normalize_activations="constant_norm_rescale"),
    "sparsify": sparsify,
    "sparsify transcoder": lambda root: sparsify(root, True),
    "sparsify groupmax": lambda root: sparsify(root, activation="groupmax"),
    **{
        f"dictionary_learning {kind}": lambda root, kind=kind: dictionary_learning(root, kind)
        for kind in ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE")
    },
    "dictionary_learning MatryoshkaBatchTopKSAE": lambda root: dictionary_learning(root, "MatryoshkaBatchTopKSAE"),
    "dictionary_learning backup": lambda root: dictionary_learning(root, backup=True),
    "openai topk": openai,
    "openai relu": lambda root: openai(root, topk=False),
    "llama scope": llama_scope,
    "llama scope transcoder": lambda root: llama_scope(root, transcoder=True),
    "llama scope r1": lambda root: openmoss(root, r1=True),
    "openmoss": openmoss,
    "openmoss clt": openmoss_cross,
    "qwen scope": qwen_scope,
    "circuit-tracer": circuit_tracer,
    "circuit-tracer jumprelu": lambda root: circuit_tracer(root, threshold=True),
    "circuit-tracer clt": circuit_tracer_cross,
    "goodfire": goodfire,
    "qresearch": qresearch,
    "hook_z": hook_z,
}
