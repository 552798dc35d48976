"""An SAE spliced into a model is what an edit with a mask made by hand is, and leaves special tokens exactly as they were."""

from dataclasses import replace

import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig
from hooke.model import Model
from hooke.sae import Sae, SaeFacts

TEXTS = ["the storm hit the bank", "rain on the choir"]


def other_sites(reads: list[str], writes: list[str]) -> Sae:
    sae = tiny.sae()
    wide = {"W_enc": torch.cat([sae.W_enc] * len(reads)), "W_dec": torch.cat([sae.W_dec] * len(writes), 1)}
    return replace(sae, **wide, b_dec=torch.cat([sae.b_dec] * len(writes)), facts=replace(sae.facts, reads=reads, writes=writes))


def test_splice_is_an_edit_with_a_mask_by_hand(model: Model) -> None:
    sae, clean = tiny.sae(), model.capture(TEXTS, tiny.sae().site)
    special = ~clean.keep
    assert special.any(1).all()

    def by_hand(acts: torch.Tensor) -> torch.Tensor:
        out = acts.clone()
        out[clean.keep] = sae.reconstruct(acts[clean.keep])
        return out

    with model.edit(sae.site, by_hand):
        wanted, loss = model.capture(TEXTS, "resid_post.1")["resid_post.1"], model.loss(TEXTS)
    with model.splice(sae):
        found, at = model.capture(TEXTS, "resid_post.1")["resid_post.1"], model.capture(TEXTS, sae.site)[sae.site]
        assert torch.allclose(model.loss(TEXTS), loss, atol=1e-5, equal_nan=True)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(at[special], clean[sae.site][special])
    assert not torch.allclose(at[clean.keep], clean[sae.site][clean.keep], atol=1e-3)
    assert torch.equal(model.capture(TEXTS, sae.site)[sae.site], clean[sae.site])  # and it ends with the block


def test_special_tokens_keep_theirs_in_generation_too(model: Model) -> None:
    seen = []

    class Zero:
        facts = SaeFacts("any/resid_post.0/thing", "tiny")

        def reconstruct(self, acts: torch.Tensor) -> torch.Tensor:
            seen.append(acts.shape[1])
            return torch.zeros_like(acts)

    ids = torch.tensor(model.tokenizer.encode(TEXTS[:1]))
    with model.splice(Zero()):
        written = model.generate(ids, 3, temperature=0.0)
        once = model.logits(written[:, :-1])[:, ids.shape[1] - 1 :].argmax(-1)
    assert max(seen[:-1]) <= ids.shape[1]
    assert len(seen) >= 3  # the prompt, then token by token
    assert torch.equal(once, written[:, ids.shape[1] :])


def test_a_transcoder_reads_one_site_and_writes_another(model: Model) -> None:
    sae = other_sites(["mlp_in.0"], ["mlp_out.0"])
    clean = model.capture(TEXTS, ["mlp_in.0", "mlp_out.0"])
    with model.splice(sae):
        found = model.capture(TEXTS, "mlp_out.0")["mlp_out.0"]
    assert torch.allclose(found[clean.keep], sae.reconstruct(clean["mlp_in.0"])[clean.keep], atol=1e-5)
    assert torch.equal(found[~clean.keep], clean["mlp_out.0"][~clean.keep])


def test_several_sites_are_read_and_written_side_by_side(model: Model) -> None:
    sae = other_sites(["resid_pre.0", "mlp_in.0"], ["mlp_out.0", "mlp_out.1"])
    clean = model.capture(TEXTS, ["resid_pre.0", "mlp_in.0"])
    with model.splice(sae):
        found = model.capture(TEXTS, ["mlp_out.0", "mlp_out.1"])
    wanted = sae.reconstruct(torch.cat([clean["resid_pre.0"], clean["mlp_in.0"]], -1))
    together = torch.cat([found["mlp_out.0"], found["mlp_out.1"]], -1)
    assert torch.allclose(together[clean.keep], wanted[clean.keep], atol=1e-5)


def test_what_one_pass_cannot_hold_is_refused(model: Model) -> None:
    sae = other_sites(["resid_post.0", "resid_post.1"], ["resid_post.0", "resid_post.1"])
    with pytest.raises(BadConfig, match=r"writes resid_post\.0 and reads resid_post\.1 above it"), model.splice(sae):
        pass
