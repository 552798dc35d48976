"""Steering on a planted model: a feature turned up makes its own words likelier, by the amount that arithmetic gives."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig, LimitReached, ShapeMismatch
from hooke.intervene import intervene
from hooke.model import Model
from hooke.sae import Sae
from hooke.steer import MOST_DOSES, MOST_KL, Arm, Dial, Drawing, Steering, alone, capped_dose, dose_of_kl, steer

SPORT = list(tiny.concepts).index("sport")
PROMPT = "the mayor says that the"


def words_of(model: Model, concept: str) -> tuple[int, ...]:
    return tuple(model.tokenizer.encode([f" {word}"])[0][1] for word in tiny.concepts[concept])


@pytest.fixture(scope="module")
def dial(model: Model, sae: Sae) -> Dial:
    return Dial(sae, SPORT, 8.0, words_of(model, "sport"))


def logits(model: Model, ids: torch.Tensor) -> torch.Tensor:
    return model.logits(ids)


def test_a_feature_turned_up_writes_its_own_words(model: Model, dial: Dial):
    result = steer(model, [dial], PROMPT, [4.0], tokens=24, temperature=0.5)
    clean, steered, random = result.arms
    share = lambda arm: np.mean([piece.strip().lower() in tiny.concepts["sport"] for piece in arm.tokens])  # noqa: E731
    assert share(steered) > 0.8 > 0.2 > share(random)
    assert steered.own_words > 0.1
    assert not any(clean.kl)
    assert np.mean(steered.kl) > 0.1
    assert dial.name in result.note


def test_a_dose_of_nothing_changes_nothing(model: Model, dial: Dial):
    clean, steered, random = steer(model, [dial], PROMPT, [0.0], tokens=12).arms
    assert clean.text == steered.text == random.text
    assert not any(steered.kl)
    assert steered.own_words == 0


def test_a_cache_gives_what_whole_passes_give_and_figures_are_their_definitions(model: Model, dial: Dial):
    """At temperature 0 every token is the likeliest one of a pass without a cache, shifted in the same way."""
    arm = steer(model, [dial], PROMPT, [0.5, 1.5], tokens=10, temperature=0.0).arms[3]
    assert (arm.kind, arm.dose) == ("steered", 1.5)
    ids = model.tokenizer.encode([PROMPT])[0]
    with model.edit(dial.site, lambda acts: acts + 1.5 * dial.maximum * dial.sae.W_dec[dial.index], special=False):
        for _ in range(10):
            ids.append(int(logits(model, torch.tensor([ids]))[0, -1].argmax()))
        q = logits(model, torch.tensor([ids]))[0, -11:-1].log_softmax(-1)
    assert arm.text == model.tokenizer.decode(ids[-10:])
    p, words = logits(model, torch.tensor([ids]))[0, -11:-1].log_softmax(-1), list(dial.words)
    assert np.allclose(arm.kl, (p.exp() * (p - q)).sum(1), atol=1e-4)
    assert math.isclose(arm.loss_clean_model, -float(p[range(10), ids[-10:]].mean()), rel_tol=1e-4)
    assert math.isclose(arm.own_words, float((q[:, words].logsumexp(1) - p[:, words].logsumexp(1)).mean()), rel_tol=1e-3)


def test_a_dose_found_for_a_kl_costs_that_much(model: Model, dial: Dial):
    """Along the model's own continuation, as a pass over the whole of it has it."""
    dose = dose_of_kl(model, [dial], PROMPT, 0.5, Drawing(8))
    ids = torch.tensor(model.tokenizer.encode([PROMPT]))
    written, start = model.generate(ids, 8), ids.shape[1]
    p = logits(model, written)[0, start - 1 : -1].log_softmax(-1)
    with model.edit(dial.site, lambda acts: acts + dose * dial.maximum * dial.sae.W_dec[dial.index], special=False):
        q = logits(model, written)[0, start - 1 : -1].log_softmax(-1)
    ends = model.is_special(written[0, start:]).tolist()
    length = ends.index(True) if True in ends else len(ends)
    assert float((p.exp() * (p - q)).sum(1)[:length].mean()) == pytest.approx(0.5, rel=0.03)


def test_a_dose_is_found_for_a_kl(model: Model, dial: Dial):
    dose = dose_of_kl(model, [dial], PROMPT, 0.5, Drawing(8))
    found = np.mean(steer(model, [dial], PROMPT, [dose], tokens=8).arms[0].kl)
    assert found == 0  # the clean arm
    less = dose_of_kl(model, [dial], PROMPT, 0.1, Drawing(8))
    assert 0 < less < dose


def test_what_is_written_alone_is_the_first_text_of_a_steering(model: Model, dial: Dial):
    """And a dose looked for along it is the one that is found without it."""
    drawing = Drawing(12, 0.7, 5)
    found = list(alone(model, PROMPT, drawing))
    clean = steer(model, [dial], PROMPT, [1.0], tokens=12, temperature=0.7, seed=5).arms[0]
    assert found[-1][1] == clean.text
    assert all(later.startswith(earlier) for (_, earlier), (_, later) in pairwise(found))
    tried = []
    dose = dose_of_kl(model, [dial], PROMPT, 0.5, drawing, found[-1][0], lambda *one: tried.append(one))
    assert dose == dose_of_kl(model, [dial], PROMPT, 0.5, drawing)
    assert min(abs(moved - 0.5) for _, moved in tried) < 0.03


def test_a_curve_that_turns_says_where():
    def turns(*own_words: float) -> float | None:
        arms = [Arm("steered", float(dose), "", [], own_words=rise) for dose, rise in enumerate(own_words, 1)]
        return Steering("", "", [], 0, 1.0, [Arm("clean", 0.0, "", []), *arms]).turns

    assert turns(0.5, 1.0, 2.0) is None
    assert turns(0.5, 2.0, 1.0) == 2.0
    assert turns(0.5, 2.0, 1.95) is None  # no more than chance
    assert turns() is None


def test_controls_fire_as_often_and_reach_as_far(sae: Sae):
    density = np.linspace(1e-4, 0.1, sae.d_sae)
    dial = Dial(sae, 30, 5.0, density=density)
    other, amount = dial.control(np.random.default_rng(0))
    assert torch.isclose(amount * sae.W_dec[other].norm(), 5.0 * sae.W_dec[30].norm())
    assert 0 < abs(other - 30) <= sae.d_sae // 20 + 1


# intervene


def test_edits_of_several_kinds_at_once_are_their_sum(model: Model, sae: Sae):
    ids = torch.tensor(model.tokenizer.encode(["the match and the election of the mayor"]))
    acts = model.capture(ids, sae.site)[sae.site]
    one, other = sae.ablate([SPORT]), sae.add([3], 4.0)
    with intervene(model, one, other):
        found = model.capture(ids, sae.site)[sae.site]
    expected = acts + one.shift(acts, acts) + other.shift(acts, acts)
    assert torch.allclose(found[:, 1:], expected[:, 1:], atol=1e-5)
    assert torch.equal(found[:, 0], acts[:, 0])  # <bos>


@pytest.mark.parametrize("what", ["scale", "clamp_active"])
def test_what_changes_nothing_leaves_every_logit_as_it_was(model: Model, sae: Sae, what: str):
    ids = torch.tensor(model.tokenizer.encode(["the match and the election"]))
    own = sae.activations(model.capture(ids, sae.site)[sae.site], torch.tensor([SPORT]))
    with intervene(model, sae.scale([SPORT], 1.0) if what == "scale" else sae.clamp_active([SPORT], own)):
        assert torch.equal(logits(model, ids), logits(model, ids))
        assert torch.isfinite(logits(model, ids)).all()
        same = logits(model, ids)
    assert torch.equal(same, logits(model, ids))


def test_an_sae_of_another_model_is_refused_unless_this_is_a_variant(model: Model, sae: Sae):
    foreign = dataclasses.replace(sae, facts=dataclasses.replace(sae.facts, model="org/other"))
    said = r"trained on org/other, not on .* say so: intervene\(model, ..., variant=True\)"
    with pytest.raises(BadConfig, match=said), intervene(model, foreign.ablate([1])):
        pass
    ids = torch.tensor(model.tokenizer.encode([PROMPT]))
    with intervene(model, foreign.ablate([SPORT]), variant=True):
        found = logits(model, ids)
    with intervene(model, sae.ablate([SPORT])):
        assert torch.equal(found, logits(model, ids))
    wide = dataclasses.replace(foreign, W_dec=torch.zeros(sae.d_sae, 40), b_dec=torch.zeros(40))
    with pytest.raises(ShapeMismatch, match="writes width 40 at"), intervene(model, wide.ablate([1]), variant=True):
        pass


def test_two_directions_of_a_site_cannot_both_be_set(model: Model, sae: Sae):
    said = r"project and cap at resid_post\.0 would undo each other"
    with pytest.raises(BadConfig, match=said), intervene(model, sae.project(1, 2.0), sae.cap(2, 1.0)):
        pass


def test_positions_are_counted_through_a_cache(model: Model, sae: Sae):
    """Only what is generated is edited; the same as a pass without a cache with a mask over those positions."""
    ids = torch.tensor(model.tokenizer.encode([PROMPT]))
    edit = sae.add([SPORT], 30.0)
    with intervene(model, edit, where=ids.shape[1]):
        written = model.generate(ids, 6, temperature=0.0)
    mask = torch.arange(written.shape[1])[None] >= ids.shape[1]
    with intervene(model, edit, where=mask):
        likeliest = logits(model, written).argmax(-1)
    assert torch.equal(written[:, ids.shape[1] :], likeliest[:, ids.shape[1] - 1 : -1])


def test_a_transcoder_reads_one_site_and_its_edit_writes_another(model: Model, sae: Sae):
    facts = dataclasses.replace(sae.facts, reads=["resid_post.0"], writes=["resid_post.1"])
    across = dataclasses.replace(sae, facts=facts)
    ids = torch.tensor(model.tokenizer.encode(["the match"]))
    both = model.capture(ids, ["resid_post.0", "resid_post.1"])
    with intervene(model, across.ablate([SPORT])):
        found = model.capture(ids, "resid_post.1")["resid_post.1"]
    expected = both["resid_post.1"] + across.ablate([SPORT]).shift(both["resid_post.0"], both["resid_post.1"])
    assert torch.allclose(found[:, 1:], expected[:, 1:], atol=1e-5)


def cannot(model: Model, sae: Sae, dial: Dial, what: str) -> None:
    match what:
        case "same feature twice":
            with intervene(model, sae.ablate([1]), sae.clamp([1, 2], 3.0)):
                pass
        case "nothing":
            with intervene(model):
                pass
        case "short mask":
            with intervene(model, sae.ablate([1]), where=torch.ones(1, 2, dtype=torch.bool)):
                model.loss("the match and the team")
        case "before the text":
            with intervene(model, sae.ablate([1]), where=-1):
                pass
        case "another shape":
            with model.edit(sae.site, lambda acts: acts[:, :1], special=False):
                model.loss("the match and the team")
        case "no tensor":
            with model.edit(sae.site, lambda acts: None, special=False):
                model.loss("the match and the team")
        case "never fires":
            Dial(sae, 60, 0.0)
        case "dose":
            steer(model, [dial], PROMPT, [float("nan")])
        case "doses":
            steer(model, [dial], PROMPT, [1.0] * (MOST_DOSES + 1))
        case "twice":
            steer(model, [dial, dial], PROMPT)
        case "kl":
            dose_of_kl(model, [dial], PROMPT, 1e6, Drawing(4))


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("same feature twice", BadConfig, "set feature 1"),
        ("nothing", BadConfig, "at least one edit"),
        ("short mask", ShapeMismatch, "does not cover"),
        ("before the text", BadConfig, "counted from 0"),
        ("another shape", ShapeMismatch, "must keep the tensor's shape"),
        ("no tensor", ShapeMismatch, "returned NoneType"),
        ("never fires", BadConfig, "never fired"),
        ("dose", BadConfig, "a dose is a number"),
        ("doses", BadConfig, "at most 21 doses"),
        ("twice", BadConfig, "different features"),
        ("kl", LimitReached, "no dose up to"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(model, sae, dial, what, error, said):
    with pytest.raises(error, match=said):
        cannot(model, sae, dial, what)


def test_a_dose_that_nobody_asked_for_is_capped(model: Model, dial: Dial, sae: Sae):
    assert capped_dose(model, [dial], PROMPT, Drawing(8)) == 1.0
    loud = dataclasses.replace(dial, maximum=800.0)
    dose = capped_dose(model, [loud], PROMPT, Drawing(8))
    assert 0 < dose < 1
    assert dose == pytest.approx(dose_of_kl(model, [loud], PROMPT, MOST_KL, Drawing(8)))


def test_a_prompt_longer_than_the_context_is_refused(model: Model, dial: Dial):
    with pytest.raises(LimitReached, match="reads at most 128"):
        steer(model, [dial], "the team " * 80, tokens=8)
