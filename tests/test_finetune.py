"""Fine-tuning follows the loss's own gradient, mends a damaged SAE, and leaves alone what it should: L0, row lengths, special positions."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from hooke import finetune as module
from hooke import tiny
from hooke.errors import BadConfig, HookeError, LimitReached, ShapeMismatch
from hooke.finetune import FinetuneConfig, FinetuneProgress, TextBatch, backward, check, finetune, spliced
from hooke.model.hooks import capturing
from hooke.names import Site
from hooke.sae import Sae, SaeFacts

MODEL, PLANTED = tiny.model(), tiny.sae()
WINDOWS, LENGTH = 8, 20


def text() -> TextBatch:
    """What the model itself says, so that its own predictions are the best there are; the last two windows are shorter."""
    ids = MODEL.generate(torch.full((1200, 1), 2), LENGTH - 1, seed=3)
    keep = ~torch.isin(ids, torch.tensor(sorted(MODEL.tokenizer.special)))
    keep[-2:, LENGTH // 2 :] = False
    return TextBatch(ids, keep)


TEXT = text()


def batches(start: int = 0) -> Iterator[TextBatch]:
    """The text from a window on, eight windows at a time, round and round."""
    for at in itertools.count(start, WINDOWS):
        rows = torch.arange(at, at + WINDOWS) % 1000
        yield TextBatch(TEXT.ids[rows], TEXT.keep[rows])


HELD = [TextBatch(TEXT.ids[at : at + 20], TEXT.keep[at : at + 20]) for at in range(1000, 1200, 20)]


def damaged(sae: Sae = PLANTED) -> Sae:
    """`sae` with every direction and bias pushed somewhere at random, its facts naming a learning rate."""
    made = torch.Generator().manual_seed(1)
    W_dec = normalize(sae.W_dec + 0.1 * torch.randn(sae.W_dec.shape, generator=made), dim=1)
    W_enc = sae.W_enc + 0.05 * torch.randn(sae.W_enc.shape, generator=made)
    b_dec = sae.b_dec + 0.3 * torch.randn(sae.b_dec.shape, generator=made)
    return replace(sae, W_dec=W_dec, W_enc=W_enc, b_dec=b_dec, facts=replace(sae.facts, training={"lr": 0.05}))


def transcoder() -> Sae:
    """One that reads what an MLP reads and writes, badly, what it adds."""
    made = torch.Generator().manual_seed(2)
    W_enc, W_dec = torch.randn(tiny.D_MODEL, 48, generator=made), normalize(torch.randn(48, tiny.D_MODEL, generator=made), dim=1)
    facts = SaeFacts("tiny/mlp_in.1/48", "tiny", writes=["mlp_out.1"], training={"lr": 0.05})
    skip = 0.1 * torch.randn(tiny.D_MODEL, tiny.D_MODEL, generator=made)
    return Sae(W_enc, torch.zeros(48), W_dec, torch.zeros(tiny.D_MODEL), torch.full((48,), 3.0), facts, skip)


def naive(sae: Sae, batch: TextBatch, beta: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss as the paper writes it, all logits at once, and its gradient by autograd alone."""
    weights = {name: getattr(sae, name).clone().requires_grad_() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    skip = None if sae.W_skip is None else sae.W_skip.clone().requires_grad_()
    block = MODEL.hf.model.layers[sae.site.layer]
    seen: dict[str, torch.Tensor] = {}

    def rebuild(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        pre = x @ weights["W_enc"] + weights["b_enc"]
        rebuilt = torch.where(pre > sae.threshold, pre, 0) @ weights["W_dec"] + weights["b_dec"]
        rebuilt = rebuilt if skip is None else rebuilt + x @ skip
        seen["mse"] = (rebuilt - y)[batch.keep].square().mean()
        return torch.where(batch.keep[..., None], rebuilt, y)

    clean = MODEL.hf(batch.ids).logits[batch.keep].log_softmax(-1)
    if skip is None:
        hooks = [block.register_forward_hook(lambda _, __, out: rebuild(out, out))]
    else:
        hooks = [block.mlp.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))]
        hooks.append(
            MODEL.architecture.locate(MODEL.hf, Site(1, "mlp_out")).module.register_forward_hook(lambda *a: rebuild(seen["x"], a[2]))
        )
    logits = MODEL.hf(batch.ids).logits[batch.keep].log_softmax(-1)
    for hook in hooks:
        hook.remove()
    kl = (clean.exp() * (clean - logits)).sum(-1).mean()
    alpha = (seen["mse"] / (kl + 1e-8)).detach()
    ((seen["mse"] + alpha * beta * kl) / (1 + beta)).backward()
    found = weights if skip is None else weights | {"W_skip": skip}
    return torch.stack([seen["mse"], kl]).detach(), {name: value.grad for name, value in found.items() if value.grad is not None}


@pytest.mark.parametrize("sae", [damaged(), transcoder()], ids=["sae", "transcoder"])
@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_the_gradient_in_pieces_is_that_of_the_whole(sae, beta, monkeypatch):
    monkeypatch.setattr(module, "_LOGIT_VALUES", 7 * len(MODEL.tokenizer))  # seven tokens at a time
    batch = next(batches(992))
    batch = TextBatch(batch.ids, batch.keep & (torch.arange(LENGTH) != 5))
    names = ["W_enc", "b_enc", "W_dec", "b_dec"] + ["W_skip"] * (sae.W_skip is not None)
    live = replace(sae, **{name: getattr(sae, name).clone().requires_grad_() for name in names})
    figures = backward(live, MODEL, batch, beta)
    expected, gradients = naive(sae, batch, beta)
    torch.testing.assert_close(torch.tensor(figures), expected, rtol=1e-4, atol=1e-7)
    assert gradients.keys() == set(names)
    for name, gradient in gradients.items():
        torch.testing.assert_close(getattr(live, name).grad, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_predictions_compared_at_some_positions_pull_from_there_alone():
    batch, live = next(batches(992)), replace(PLANTED, b_dec=PLANTED.b_dec.clone().requires_grad_())
    some = torch.tensor([0, 3, 10])
    _, kl = backward(live, MODEL, batch, 1.0, compared=some)
    with MODEL.edit(PLANTED.site, lambda x: torch.where(batch.keep[..., None], PLANTED.reconstruct(x), x)):
        q = MODEL.hf(batch.ids).logits[batch.keep][some].log_softmax(-1)
    p = MODEL.hf(batch.ids).logits[batch.keep][some].log_softmax(-1)
    assert kl == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3)
    assert live.b_dec.grad is not None
    told: list[FinetuneProgress] = []
    tuned = finetune(damaged(), MODEL, batches(), HELD, FinetuneConfig(15_000, share=0.25), told.append)
    before, after = figures(tuned)
    assert abs(after["kl"]) < before["kl"] / 2


def test_an_sae_of_balanced_coordinates_is_mended_where_they_are_small():
    facts = replace(PLANTED.facts, training={"balance": 1.0})
    tuned = finetune(replace(damaged(), facts=facts), MODEL, batches(), HELD, FinetuneConfig(15_000))
    before, after = figures(tuned)
    assert abs(after["kl"]) < before["kl"] / 2
    assert torch.allclose(tuned.W_dec.norm(dim=1), torch.ones(tuned.d_sae), atol=1e-5)


def figures(sae: Sae) -> tuple[dict[str, float], dict[str, float]]:
    record = sae.facts.training["finetuned"]
    return record["before"], record["after"]


@pytest.mark.parametrize("sae", [damaged(), transcoder()], ids=["sae", "transcoder"])
def test_a_bad_sae_is_mended(sae):
    told: list[FinetuneProgress] = []
    tuned = finetune(sae, MODEL, batches(), HELD, FinetuneConfig(15_000), told.append)
    before, after = figures(tuned)
    for name in ("kl", "delta_loss", "fvu"):
        assert abs(after[name]) < before[name] / 2  # a loss may fall by a hair: the text is a sample
    assert abs(after["l0"] / before["l0"] - 1) < 0.05
    assert torch.allclose(tuned.W_dec.norm(dim=1), torch.ones(tuned.d_sae), atol=1e-6)
    assert told[-1].tokens == tuned.facts.training["finetuned"]["tokens"] >= 15_000
    assert told[-1].kl < told[0].kl
    assert tuned.name == f"{sae.name}-finetuned"
    assert tuned.facts.metrics == {name: after[name] for name in ("tokens", "l0", "fvu")}
    assert not tuned.W_enc.requires_grad


def test_the_figures_are_what_they_say():
    """KL and the loss's rise as whole logits give them, of what is not kept nothing counted."""
    judged = HELD[5:]
    tuned = finetune(damaged(), MODEL, batches(), HELD, FinetuneConfig(1))
    kl, rise = [], []
    for batch in judged:
        clean = MODEL.hf(batch.ids).logits.log_softmax(-1)
        rebuilt = torch.where(
            batch.keep[..., None], damaged().reconstruct(MODEL.capture(batch.ids, ["resid_post.0"])[Site(0, "resid_post")]), 0
        )
        hook = MODEL.hf.model.layers[0].register_forward_hook(
            lambda _, __, out, keep=batch.keep, rebuilt=rebuilt: torch.where(keep[..., None], rebuilt, out)
        )
        other = MODEL.hf(batch.ids).logits.log_softmax(-1)
        hook.remove()
        kl.append((clean.exp() * (clean - other)).sum(-1)[batch.keep])
        next_token = batch.ids[:, 1:, None]
        off = (clean - other)[:, :-1].gather(2, next_token)[..., 0]
        rise.append(off[batch.keep[:, :-1] & batch.keep[:, 1:]])
    before, _ = figures(tuned)
    assert before["kl"] == pytest.approx(float(torch.cat(kl).mean()), rel=1e-4)
    assert before["delta_loss"] == pytest.approx(float(torch.cat(rise).mean()), rel=1e-3)


@pytest.mark.parametrize(("activation", "k"), [("topk", 3), ("groupmax", 4)])
def test_a_fixed_number_of_features_stays_fixed(activation, k):
    sae = damaged()
    sae = replace(sae, threshold=torch.zeros(sae.d_sae), facts=replace(sae.facts, activation=activation, k=k))
    tuned = finetune(sae, MODEL, batches(), HELD, FinetuneConfig(6_000))
    before, after = figures(tuned)
    assert after["kl"] < before["kl"]
    assert tuned.facts.k == k
    assert torch.equal(tuned.threshold, sae.threshold)


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_l0_comes_back_however_far_it_went(factor):
    """Weights blown up or shrunk after training: the offset goes either way, and the same entries decide."""
    acts = [MODEL.capture(batch.ids, ["resid_post.0"])[Site(0, "resid_post")][batch.keep] for batch in HELD]
    moved = replace(PLANTED, W_enc=PLANTED.W_enc * factor)
    back = module._recalibrated(PLANTED, moved, acts)
    wanted, found = (sum(len(sae.encode(x).feature) for x in acts) for sae in (PLANTED, back))
    assert abs(found / wanted - 1) < 0.01
    offset = back.threshold - moved.threshold
    assert torch.allclose(offset, offset[:1].expand_as(offset), atol=1e-5)


def test_special_positions_are_left_as_they_are():
    batch = next(batches(992))
    place = {Site(1, "resid_pre"): MODEL.architecture.locate(MODEL.hf, Site(1, "resid_pre"))}
    clean = MODEL.capture(batch.ids, ["resid_pre.1"])[Site(1, "resid_pre")]
    with torch.no_grad(), capturing(place) as found:
        spliced(MODEL, batch, Site(0, "resid_post"), torch.ones(int(batch.keep.sum()), tiny.D_MODEL))
    (edited,) = found.values()
    assert torch.equal(edited[~batch.keep], clean[~batch.keep])
    assert bool((edited[batch.keep] == 1).all())


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        finetune(damaged(), MODEL, batches(), HELD, FinetuneConfig(1_000)).save(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    kept = Sae.load(tmp_path / "one.safetensors")
    again = finetune(kept, MODEL, batches(), HELD, FinetuneConfig(300))
    assert again.facts.training["finetuned"]["earlier"] == kept.facts.training["finetuned"]


def test_a_model_in_bfloat16_will_do():
    model = tiny.model()
    torch.nn.Module.to(model.hf, torch.bfloat16)
    tuned = finetune(damaged(), model, batches(), HELD, FinetuneConfig(6_000))
    before, after = figures(tuned)
    assert after["kl"] < before["kl"] / 2
    assert tuned.W_enc.dtype == torch.float32


def test_the_learning_rate_is_a_tenth_of_trainings():
    learnt = [finetune(sae, MODEL, batches(), HELD, FinetuneConfig(1)) for sae in (damaged(), PLANTED)]
    found = [one.facts.training["finetuned"]["lr"] for one in learnt]
    assert found == pytest.approx([0.005, 3e-4 * (4096 / tiny.D_SAE) ** 0.5])


def test_what_cannot_be_is_refused():
    facts = PLANTED.facts
    several = replace(facts, reads=["resid_post.0", "resid_post.1"])
    with pytest.raises(BadConfig, match=r"reads resid_post\.0, resid_post\.1 .* not a crosscoder"):
        finetune(replace(PLANTED, facts=several), MODEL, batches(), HELD, FinetuneConfig(1))
    with pytest.raises(ShapeMismatch, match="reads width 8"):
        finetune(replace(PLANTED, W_enc=PLANTED.W_enc[:8]), MODEL, batches(), HELD, FinetuneConfig(1))
    with pytest.raises(ShapeMismatch, match=r"writes width 8 at resid_post\.0 \(trained on tiny\); tiny has width 32 there"):
        finetune(replace(PLANTED, W_dec=PLANTED.W_dec[:, :8], b_dec=PLANTED.b_dec[:8]), MODEL, batches(), HELD, FinetuneConfig(1))
    for named in ("", "org/gemma-9"):  # sites and widths decide, not names
        check(replace(PLANTED, facts=replace(facts, model=named)), MODEL)
    with pytest.raises(BadConfig, match="computed before it"):
        finetune(replace(PLANTED, facts=replace(facts, writes=["resid_pre.0"])), MODEL, batches(), HELD, FinetuneConfig(1))
    with pytest.raises(LimitReached, match="ended after 0 of 5 tokens"):
        finetune(PLANTED, MODEL, [TextBatch(TEXT.ids[:1, :1], TEXT.keep[:1, :1])], HELD, FinetuneConfig(5))
    with pytest.raises(LimitReached, match="at least two batches"):
        finetune(PLANTED, MODEL, batches(), HELD[:1], FinetuneConfig(5))
    with pytest.raises(BadConfig, match=r"beta=-1\.0"):
        FinetuneConfig(5, beta=-1.0)
    with pytest.raises(BadConfig, match="share=0"):
        FinetuneConfig(5, share=0.0)


def test_a_loss_that_blows_up_is_told():
    with pytest.raises(HookeError, match=r"no longer finite after .* Lower the learning rate \(now 1e\+30\)"):
        finetune(damaged(), MODEL, batches(), HELD, FinetuneConfig(5_000, lr=1e30))
