"""A planted model, tokenizer and SAE, built in memory in well under a second: small enough to know every right answer."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import tokenizers
import torch
from jaxtyping import Float
from tokenizers import decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from hooke.model import Model
from hooke.sae import Sae, SaeFacts
from hooke.text.tokens import Tokenizer

concepts: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "finance": ("bank", "loan", "profit", "shares", "market", "investors", "inflation", "bonds"),
        "sport": ("goal", "match", "team", "coach", "league", "striker", "tournament", "court"),
        "weather": ("rain", "storm", "snow", "flood", "forecast", "winds", "drought", "heatwave"),
        "health": ("doctors", "hospital", "vaccine", "patients", "virus", "surgery", "nurses", "clinic"),
        "politics": ("election", "minister", "parliament", "vote", "senate", "campaign", "treaty", "mayor"),
        "justice": ("judge", "trial", "police", "jury", "prison", "verdict", "lawyer", "court"),
        "science": ("scientists", "telescope", "planet", "fossil", "molecule", "laboratory", "galaxy", "theory"),
        "music": ("album", "concert", "singer", "orchestra", "guitar", "opera", "choir", "band"),
    }
)
"""What the SAE's first features mean: feature ``i`` is active on the words of the ``i``-th concept and on no others.

``court`` has two meanings. Any capital first letter counts as the same word.
"""

UBIQUITOUS = len(concepts)
"""The feature after the concepts: active on every token."""

_NEUTRAL = (
    "the a an of in to and for on with after before new old says say at is are was by from as over under its his her their this that "
    "it will has have had be not no more less first last one two three next year week day after against up down out about into than"
)
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")  # Gemma's first four
_CHARACTERS = "▁\n" + "".join(map(chr, range(0x21, 0x7F)))

D_MODEL = 32
D_SAE = 64
_SEED = 1665
# Lengths in the residual stream. A block adds at most 2 · _LEAK · √32 < 0.6 to it in any direction, which no threshold lies within.
_CONCEPT, _COMMON, _IDENTITY, _LEAK = 8.0, 3.0, 3.0, 0.05


def model() -> Model:
    """A two-layer Gemma 3 of width 32, float32, the same every time.

    In the residual stream a token is ``8 · (its concepts) + 3 · (what all tokens share) + 3 · (two directions of its own)``, all of
    these orthonormal; the blocks are random and add too little to matter. The LM head reads the same directions, so a concept
    predicts its own words. <bos> points along every concept at five times the strength: whoever forgets to leave it out will notice.
    """
    backend = _tokenizer()
    config = Gemma3TextConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=D_MODEL,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        max_position_embeddings=128,
        sliding_window=64,
        layer_types=["sliding_attention", "full_attention"],
        initializer_range=0.2,
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        hf = Gemma3ForCausalLM(config)
        planted = _planted(backend)
    with torch.no_grad():
        hf.model.embed_tokens.weight.copy_(planted / D_MODEL**0.5)  # Gemma multiplies by √d_model
        hf.lm_head.weight.copy_(planted / D_MODEL**0.5)
        hf.lm_head.weight[: len(_SPECIAL)] = 0
        for name, weight in hf.named_parameters():
            if name.endswith(("post_attention_layernorm.weight", "post_feedforward_layernorm.weight")):
                weight.fill_(_LEAK - 1)  # Gemma's gain is 1 + weight
    return Model(hf, Tokenizer(backend, bos=2), "tiny")


def sae() -> Sae:
    """The SAE at ``resid_post.0`` of `model` that knows what was planted; it explains over 99 % of the activations.

    Features 0 to 7 are `concepts`, in their order; 8 is `UBIQUITOUS`; 9 to 54 are the directions that tell tokens apart, two of them
    active on each token, and mean nothing; the remaining nine are dead.
    """
    basis = _basis()
    n_named = UBIQUITOUS + 1
    directions = torch.zeros(D_SAE, D_MODEL)
    directions[:n_named] = basis[:n_named]
    own = basis[n_named:]
    directions[n_named : n_named + 2 * len(own)] = torch.cat([own, -own])
    threshold = torch.full((D_SAE,), _IDENTITY / 2)
    threshold[: len(concepts)] = _CONCEPT / 2
    facts = SaeFacts(f"tiny/resid_post.0/{D_SAE}", "tiny", context=128, metrics={"l0": 3.5}, training={"recipe": "planted"})
    zeros = torch.zeros(D_SAE)
    return Sae(directions.T.contiguous(), zeros, directions, torch.zeros(D_MODEL), threshold, facts)


def save(folder: Path) -> None:
    """Write `model` to `folder` as Hugging Face does, so that `Model.load` reads it, and `sae` beside it as ``sae.safetensors``."""
    planted = model()
    planted.hf.save_pretrained(folder)
    names = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token"), _SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=planted.tokenizer.backend, **names).save_pretrained(folder)
    sae().save(folder / "sae.safetensors")


def _basis() -> Float[Tensor, "d_model d_model"]:
    """Orthonormal rows, none of them along an axis, the same on every machine: Sylvester's Hadamard matrix, scaled."""
    basis = torch.ones(1, 1)
    while len(basis) < D_MODEL:
        basis = torch.cat([torch.cat([basis, basis], 1), torch.cat([basis, -basis], 1)])
    return basis / D_MODEL**0.5


def _tokenizer() -> tokenizers.Tokenizer:
    """Gemma's way in small: known words are one token with or without the space before them, unknown ones fall into characters or bytes."""
    words = [word for group in (*concepts.values(), _NEUTRAL.split()) for word in group]
    cased = [form for word in words for form in (word, word.capitalize())]
    pieces = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *_CHARACTERS, *cased, *(f"▁{word}" for word in cased)]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True, ignore_merges=True))  # noqa: S106
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"▁?\p{L}+|."), "isolated")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(list(_SPECIAL))
    return backend


def _planted(backend: tokenizers.Tokenizer) -> Float[Tensor, "vocab d_model"]:
    """What each token puts into the residual stream."""
    basis = _basis()
    own = basis[UBIQUITOUS + 1 :]
    vectors = torch.zeros(backend.get_vocab_size(), D_MODEL)
    for piece, index in sorted(backend.get_vocab().items(), key=lambda item: item[1]):
        pair = torch.randperm(len(own))[:2]
        signs = torch.randint(0, 2, (2, 1)) * 2 - 1
        vectors[index] = _COMMON * basis[UBIQUITOUS] + _IDENTITY * (signs * own[pair]).sum(0)
        word = piece.removeprefix("▁").lower()
        for i, group in enumerate(concepts.values()):
            if word in group:
                vectors[index] += _CONCEPT * basis[i]
    vectors[_SPECIAL.index("<bos>")] = 5 * _CONCEPT * basis[: len(concepts)].sum(0)
    vectors[_SPECIAL.index("<pad>")] = 0
    return vectors
