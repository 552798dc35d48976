"""Weights that do not do what their header says are caught, and what is wrong with them is named."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hooke import tiny
from hooke.analysis import Options, Reader
from hooke.errors import BadFile, ShapeMismatch
from hooke.model import Model
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.fits import check_fits
from hooke.sanity import Neutral, check, doubts, measure, strangers


@pytest.fixture(scope="module")
def planted() -> Model:
    """The planted model, but with a second block that adds as much as the first put there: its layers can be told apart."""
    model = tiny.model()
    with torch.no_grad():
        model.hf.model.layers[1].post_feedforward_layernorm.weight.fill_(2.0)
    return model


@pytest.fixture(scope="module")
def neutral(planted: Model) -> Neutral:
    return Neutral(planted)


@pytest.fixture
def sae() -> Sae:
    """The planted SAE with its figures on the card, its decoder rows far longer than its encoder columns, and a decoder bias."""
    found = tiny.sae()
    bias = torch.linspace(-1, 1, tiny.D_MODEL)
    encoder = 0.05 * found.W_enc
    facts = replace(found.facts, metrics={"l0": 3.5, "fvu": 0.02})
    return replace(
        found, W_enc=encoder, b_enc=-bias @ encoder, W_dec=20 * found.W_dec, b_dec=bias, threshold=0.05 * found.threshold, facts=facts
    )


def complaint(sae: Sae, planted: Model, neutral: Neutral) -> str:
    with pytest.raises(ShapeMismatch) as caught:
        check(sae, neutral.acts, neutral.alternatives(sae))
    assert str(caught.value).startswith(f"{sae.name} explains ")
    assert " on ordinary text. " in str(caught.value)
    return str(caught.value).partition(" on ordinary text. ")[2]


def square(sae: Sae, planted: Model, neutral: Neutral) -> Sae:
    """An SAE with as many features as it has inputs, no matrix of it symmetric."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(tiny.D_MODEL, tiny.D_MODEL))[0]
    mean = neutral.acts([sae.site])[sae.site].mean(0)
    facts = replace(sae.facts, metrics={"l0": float(tiny.D_MODEL), "fvu": 0.02})
    always = 100 - mean @ basis  # every feature is always active: a rotation there and back
    return Sae(basis, always, basis.T.contiguous(), mean - 100 * basis.sum(1), torch.zeros(tiny.D_MODEL), facts)


def test_weights_that_belong_are_let_through(sae, planted, neutral):
    check(sae, neutral.acts, neutral.alternatives(sae))
    fit = measure(sae, neutral.acts)
    assert fit.good
    assert fit.explained > 0.95


def test_explained_is_one_minus_the_share_of_variance_left(sae, neutral):
    acts = neutral.acts([sae.site])[sae.site]
    left = (acts - sae.reconstruct(acts)).square().sum() / (acts - acts.mean(0)).square().sum()
    assert measure(sae, neutral.acts).explained == pytest.approx(1 - float(left), abs=1e-5)
    assert measure(sae, neutral.acts).l0 == pytest.approx(float((sae.encode(acts).dense() > 0).sum(1).float().mean()))


def test_weights_of_another_layer_are_named_with_theirs(sae, planted, neutral):
    elsewhere = replace(sae, facts=replace(sae.facts, name="tiny/resid_post.1/64"))
    assert complaint(elsewhere, planted, neutral).startswith("Its weights belong to another layer than its header says: at resid_post.0 it")


def test_weights_of_another_site_are_named_with_theirs(sae, planted, neutral):
    elsewhere = replace(sae, facts=replace(sae.facts, name="tiny/mlp_out.0/64"))
    said = complaint(elsewhere, planted, neutral)
    assert said.startswith("Its weights belong to another site than its header says: at resid_")  # tiny's blocks add next to nothing


def test_a_normalisation_that_was_not_folded_is_named_with_its_scale(sae, planted, neutral):
    scale = 20.0
    unfolded = replace(sae, W_enc=sae.W_enc / scale, W_dec=sae.W_dec * scale, b_dec=sae.b_dec * scale)
    said = complaint(unfolded, planted, neutral)
    assert said.startswith("The normalisation of its training is not folded into its weights: on activations multiplied by about ")
    assert scale / 2 <= float(said.partition("about ")[2].split()[0]) <= scale * 2


def test_a_normalisation_of_each_token_is_named(sae, neutral):
    """An SAE made for tokens of one length, whose tokens come in all; a fixed scale may do as well."""
    acts = neutral.acts([sae.site])[sae.site]
    lengths = torch.logspace(-3, -2, len(acts))[torch.randperm(len(acts), generator=torch.Generator().manual_seed(0))][:, None]
    unit = acts / acts.square().mean(1, keepdim=True).sqrt()
    cut = replace(tiny.sae(), threshold=0.15 * tiny.sae().threshold, facts=replace(sae.facts, normalize="rms", metrics={"fvu": 0.05}))

    def short(sites: Sequence[Site]) -> dict[Site, Tensor]:
        return dict.fromkeys(sites, unit * lengths)

    check(cut, short)
    fit = measure(cut, short)
    assert fit.explained > 0.95
    cut = replace(cut, facts=replace(cut.facts, metrics={"fvu": 0.05, "l0": fit.l0}))
    with pytest.raises(ShapeMismatch, match=r"not folded into its weights: on activations (divided|multiplied) by .* it explains"):
        check(replace(cut, facts=replace(cut.facts, normalize="none")), short)


def test_swapped_matrices_are_named(sae, planted, neutral):
    swapped = replace(sae, W_enc=sae.W_dec.T.contiguous(), W_dec=sae.W_enc.T.contiguous())
    assert complaint(swapped, planted, neutral).startswith("Its encoder and decoder are swapped: changed back it explains 9")


def test_swapped_biases_are_named(sae, planted, neutral):
    swapped = replace(sae, b_enc=sae.threshold, threshold=sae.b_enc)
    assert complaint(swapped, planted, neutral).startswith("Its encoder bias and its thresholds are swapped: changed back it explains 9")


def test_a_decoder_bias_that_is_not_taken_off_is_named(sae, planted, neutral):
    far = replace(sae, b_dec=20 * sae.b_dec, b_enc=torch.zeros(tiny.D_SAE))

    def moved(sites: Sequence[Site]) -> dict[Site, Tensor]:
        return {site: value + 20 * sae.b_dec for site, value in neutral.acts(sites).items()}

    with pytest.raises(ShapeMismatch, match="Its encoder expects its decoder bias to be taken off what it reads: then it explains 9"):
        check(far, moved)


@pytest.mark.parametrize("which", ["encoder", "decoder"])
def test_transposed_matrices_are_named_where_shapes_cannot_tell(sae, planted, neutral, which):
    right = square(sae, planted, neutral)
    check(right, neutral.acts)
    wrong = replace(right, W_enc=right.W_enc.T.contiguous()) if which == "encoder" else replace(right, W_dec=right.W_dec.T.contiguous())
    assert complaint(wrong, planted, neutral).startswith(f"Its {which} is transposed: turned it explains")


def test_weights_of_another_model_are_told_from_these(sae, planted, neutral):
    torch.manual_seed(1)
    turn = torch.linalg.qr(torch.randn(tiny.D_MODEL, tiny.D_MODEL))[0]
    stranger = replace(sae, W_enc=turn @ sae.W_enc, W_dec=sae.W_dec @ turn.T, b_dec=turn @ sae.b_dec)
    said = complaint(stranger, planted, neutral)
    assert said.startswith("No other layer, site, scale or orientation makes it fit: it")


def test_far_too_many_features_are_caught_though_all_is_explained(sae, neutral):
    dense = replace(sae, facts=replace(sae.facts, metrics={"l0": 0.5, "fvu": 0.02}))
    with pytest.raises(ShapeMismatch, match=r"with \d features a token \(said to be 0\)"):
        check(dense, neutral.acts)


def test_without_a_card_a_floor_decides(sae, neutral):
    bare = replace(sae, facts=replace(sae.facts, metrics={}))
    check(bare, neutral.acts)
    assert measure(bare, neutral.acts).expected is None
    with pytest.raises(ShapeMismatch, match="explains 0% with 0 features"):
        check(replace(bare, threshold=torch.full((tiny.D_SAE,), 1e9)), neutral.acts)


def test_judges_let_poor_saes_through_with_a_doubt_and_misread_ones_not(sae, planted):
    assert doubts(planted, [sae]) == []
    poor = replace(sae, W_dec=sae.W_dec.flip(0), facts=replace(sae.facts, metrics={}))
    (said,) = doubts(planted, [poor, sae])
    assert said.startswith(f"{sae.name} explains ")
    assert "makes it fit: it" in said
    swapped = replace(sae, W_enc=sae.W_dec.T.contiguous(), W_dec=sae.W_enc.T.contiguous())
    with pytest.raises(ShapeMismatch, match="Its encoder and decoder are swapped"):
        doubts(planted, [poor, swapped])


def test_a_name_that_differs_is_told_and_the_fit_decides(sae, planted, monkeypatch):
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: None)
    copy = replace(sae, facts=replace(sae.facts, model="org/tiny-copy", metrics={}))
    (said,) = strangers(planted, [copy, sae])
    assert said.startswith(f"{sae.name} was trained on org/tiny-copy, not on tiny")
    told: list[str] = []
    Reader(planted, [copy], Options(), told.append)
    warning = told[-1] if told[-1].startswith("Warning") else told[-2]
    assert re.search(r"was trained on org/tiny-copy, not on tiny; .* it explains (9\d|100)% with", warning)
    poor = replace(copy, W_dec=sae.W_dec.flip(0))
    for refused in (lambda: strangers(planted, [poor]), lambda: Reader(planted, [poor], Options())):
        with pytest.raises(
            ShapeMismatch, match=r"learnt little\. .* trained on org/tiny-copy, not on tiny.* hooke convert SAE FILE --model NAME"
        ):
            refused()


def test_a_share_of_many_layers_is_not_judged_by_what_it_rebuilds(sae, planted, neutral):
    share = replace(sae, facts=replace(sae.facts, reads=["resid_post.0"], writes=["resid_post.0", "resid_post.1"]))
    share = replace(share, W_dec=torch.zeros(tiny.D_SAE, 2 * tiny.D_MODEL), b_dec=torch.zeros(2 * tiny.D_MODEL))
    check_fits(share, planted.name, planted.width)
    check(share, neutral.acts)


def test_unknown_saes_are_tried_when_they_are_loaded(sae, planted, monkeypatch):
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: None)
    reader = Reader(planted, [sae], Options())
    (result,) = reader.read(["the bank and the old choir"])
    assert {hit.index for hit in result.features} >= {list(tiny.concepts).index("finance"), list(tiny.concepts).index("music")}
    assert all(hit.index != tiny.UBIQUITOUS for hit in result.features)  # on every sentence, so it says nothing of this one
    assert result.features[0].specificity > 3
    assert all(hit.label is None for hit in result.features)
    wrong = replace(sae, facts=replace(sae.facts, name="tiny/resid_post.1/64"))
    with pytest.raises(ShapeMismatch, match="another layer"):
        Reader(planted, [wrong], Options())


def test_a_transcoder_is_judged_by_what_it_should_write(planted, monkeypatch):
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: None)
    reads, writes = Site(0, "resid_post"), Site(1, "resid_pre")  # the same activations under another name
    sae = tiny.sae()
    transcoder = replace(sae, facts=replace(sae.facts, reads=[str(reads)], writes=[str(writes)]))
    reader = Reader(planted, [transcoder], Options())
    (result,) = reader.read(["the bank and the old choir"])
    assert result.explained is not None
    assert result.explained > 0.95
    told: list[str] = []
    wrong = replace(sae, facts=replace(sae.facts, reads=[str(reads)], writes=["resid_post.1"]))
    Reader(planted, [wrong], Options(), told.append)
    assert any(line.startswith("Warning:") and line.endswith("it may have learnt little.") for line in told)  # it promised nothing
    told.clear()
    Reader(planted, [replace(wrong, facts=replace(wrong.facts, metrics={"fvu": 0.05}))], Options(), told.append)
    assert any("(on its card 95%)" in line and "or its weights are damaged (`hooke eval`" in line for line in told)


def test_an_sae_that_learnt_little_is_read_with_a_warning_that_gives_both_figures(planted, monkeypatch):
    """One that is nearly as it began, with such a card: nothing about another model, no guess that fits by luck."""
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: None)
    torch.manual_seed(0)
    acts = Neutral(planted).acts([Site(0, "resid_post")])[Site(0, "resid_post")]
    for card, why in ((0.9, "it learnt little, as its card says."), (0.3, "its own text, tells which).")):
        young = tiny.sae()
        W_enc = torch.nn.functional.normalize(torch.randn_like(young.W_enc), dim=0)
        threshold = (acts @ W_enc).quantile(0.9, dim=0).clamp_min(1e-3)
        facts = replace(young.facts, metrics={"fvu": card, "l0": 6.4})
        young = replace(
            young, W_enc=W_enc, b_enc=torch.zeros(tiny.D_SAE), W_dec=0.01 * W_enc.T.contiguous(), threshold=threshold, facts=facts
        )
        told: list[str] = []
        reader = Reader(planted, [young], Options(), told.append)
        (said,) = [line for line in told if line.startswith("Warning: ")]
        assert f"(on its card {1 - card:.0%})" in said
        assert said.endswith(why)
        assert "another" not in said
        assert "not on" not in said
        assert len(list(reader.read(["the bank and the old choir"]))) == 1


@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf])
def test_a_models_spoilt_weight_is_no_fault_of_an_sae(spoilt):
    """Of a token that only fills up, so that nothing but activations show it."""
    model = tiny.model()
    with torch.no_grad():
        model.hf.get_input_embeddings().weight[0, 0] = spoilt
    with pytest.raises(
        BadFile, match=r"at resid_post\.0 are not finite in ordinary text\. The weight 'model\.embed_tokens\.weight' of tiny holds"
    ):
        doubts(model, [tiny.sae()])


@pytest.mark.real
class TestReal:
    """The default pack's own weights on the real model."""

    @pytest.fixture(scope="class")
    def gemma(self) -> Model:
        return Model.load("gemma-3-270m")

    @pytest.fixture(scope="class")
    def yardstick(self, gemma: Model) -> Neutral:
        return Neutral(gemma)

    @pytest.fixture(scope="class")
    def twelve(self) -> Sae:
        return Sae.from_pretrained("gemma-3-270m/resid_post.12/8k")

    def test_the_pack_passes(self, yardstick: Neutral) -> None:
        from hooke.sae.packs import installed_saes

        rows = [row for row in installed_saes() if row.facts.model == "gemma-3-270m"]
        assert rows
        for row in rows:
            sae = Sae.load(row.path)
            check(sae, yardstick.acts)
            assert measure(sae, yardstick.acts).explained > 0.5

    def test_another_layer(self, twelve: Sae, gemma: Model, yardstick: Neutral) -> None:
        wrong = replace(twelve, facts=replace(twelve.facts, name="gemma-3-270m/resid_post.5/4k"))
        assert "at resid_post.12 it" in complaint(wrong, gemma, yardstick) or "another layer" in complaint(wrong, gemma, yardstick)

    def test_swapped(self, twelve: Sae, gemma: Model, yardstick: Neutral) -> None:
        swapped = replace(twelve, W_enc=twelve.W_dec.T.contiguous(), W_dec=twelve.W_enc.T.contiguous())
        assert complaint(swapped, gemma, yardstick).startswith("Its encoder and decoder are swapped")

    @pytest.mark.exhaustive
    def test_unfolded(self, twelve: Sae, gemma: Model, yardstick: Neutral) -> None:
        scale = 1 / 256
        unfolded = replace(twelve, W_enc=twelve.W_enc / scale, W_dec=twelve.W_dec * scale, b_dec=twelve.b_dec * scale)
        assert "not folded into its weights" in complaint(unfolded, gemma, yardstick)

    @pytest.mark.exhaustive
    def test_another_model(self, twelve: Sae, gemma: Model, yardstick: Neutral) -> None:
        order = torch.randperm(twelve.d_in, generator=torch.Generator().manual_seed(0))
        stranger = replace(twelve, W_enc=twelve.W_enc[order], W_dec=twelve.W_dec[:, order], b_dec=twelve.b_dec[order])
        assert "makes it fit: it" in complaint(stranger, gemma, yardstick)
