"""An SAE is refused on a model whose sites have other widths, before anything is read; a name that differs is only told."""

from dataclasses import replace

import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig, ShapeMismatch, UnknownName
from hooke.sae import Sae
from hooke.sae.fits import check_fits, model_of, other_model

MODEL, SAE = tiny.model(), tiny.sae()


def check(sae: Sae) -> None:
    check_fits(sae, MODEL.name, MODEL.width)


def changed(**facts: object) -> Sae:
    return replace(SAE, facts=replace(SAE.facts, **facts))


def test_what_fits_is_let_through():
    for sae in (SAE, changed(model="org/tiny"), changed(model="TINY/"), changed(model="")):
        check(sae)


def test_a_width_that_differs_is_told_with_both():
    with pytest.raises(ShapeMismatch, match=r"reads width 48 at resid_post\.0 \(trained on tiny\); tiny has width 32 there"):
        check(replace(SAE, W_enc=torch.zeros(48, tiny.D_SAE)))
    with pytest.raises(ShapeMismatch, match=r"reads width 32 at attn_z\.0 .*tiny has width 16"):
        check(changed(name="tiny/attn_z.0/64"))
    with pytest.raises(ShapeMismatch, match=r"writes width 32 at attn_z\.1"):
        check(changed(writes=["attn_z.1"]))
    with pytest.raises(ShapeMismatch, match=r"reads width 48 at resid_post\.0; tiny has"):  # nothing is known of its training
        check(replace(changed(model=""), W_enc=torch.zeros(48, tiny.D_SAE)))


def test_a_site_that_the_model_lacks_is_unknown():
    with pytest.raises(UnknownName, match=r"resid_post\.9"):
        check(changed(name="tiny/resid_post.9/64"))


def test_another_model_is_told_and_decides_nothing():
    copy = changed(model="org/tiny-copy")
    check(copy)
    assert other_model(copy, "tiny") == "tiny/resid_post.0/64 was trained on org/tiny-copy, not on tiny; they may be alike enough."
    assert not any(other_model(sae, "tiny") for sae in (SAE, changed(model="org/tiny"), changed(model="TINY/"), changed(model="")))


def test_one_model_of_all():
    assert model_of([SAE, changed(name="tiny/mlp_out.0/64")]) == "tiny"
    with pytest.raises(BadConfig, match=r"of different models \(none named, tiny\)"):
        model_of([SAE, changed(model="")])
    with pytest.raises(BadConfig, match=r"the files of tiny/resid_post\.0/64 name no model.*--model NAME"):
        model_of([changed(model="")])
