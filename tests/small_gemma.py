"""A Gemma 2 of random weights and an SAE of its layer 20, small, in the files that the real ones are published in."""

import io
from pathlib import Path

import numpy as np
import torch
import transformers

from hooke import tiny


def gemma_2(folder: Path) -> dict[str, bytes]:
    """A tiny Gemma 2 of 22 random layers with a tokenizer, file by file, as its publisher lays it out."""
    tiny.save(folder)  # for its tokenizer
    vocabulary = len(tiny.model().tokenizer)
    config = transformers.Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=22,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        max_position_embeddings=128,
        sliding_window=64,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        transformers.Gemma2ForCausalLM(config).save_pretrained(folder)
    (folder / "sae.safetensors").unlink()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def gemma_scope(folder: Path) -> bytes:
    """An SAE that rebuilds the layer of that model: every direction and its opposite, four times each, of which half fire on a token;
    and beside them 256 features that write nothing and fire on one token in fifty."""
    from hooke.model import Model
    from hooke.names import Site
    from hooke.sanity import Neutral

    site = Site(20, "resid_post")
    acts = Neutral(Model.load(str(folder))).acts([site])[site]
    mean, basis = acts.mean(0), torch.linalg.svd(acts - acts.mean(0), full_matrices=False).Vh
    wide = torch.cat([basis, -basis]).repeat(4, 1)
    rare = torch.nn.functional.normalize(torch.randn(256, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    encoder, decoder = torch.cat([wide, rare]).T.contiguous(), torch.cat([wide / 4, torch.zeros(256, 16)])
    threshold = torch.cat([torch.full((128,), 1e-4), ((acts - mean) @ rare.T).quantile(0.98, dim=0)])
    out = io.BytesIO()
    arrays = {"W_enc": encoder, "W_dec": decoder, "b_enc": -mean @ encoder, "b_dec": mean, "threshold": threshold}
    np.savez(out, **{name: value.numpy() for name, value in arrays.items()})
    return out.getvalue()
