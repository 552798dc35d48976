"""Effects of planted features: what is measured is its definition, chance is chance, and a run that was stopped goes on."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from hooke import tiny
from hooke.errors import BadConfig, Busy
from hooke.features.effect_log import EffectLog
from hooke.features.effects import EffectRun, EffectSettings, Meter, estimate, random_directions, share_above
from hooke.model.last import LastToken
from hooke.names import Site

SPORT = list(tiny.concepts).index("sport")
FEW = EffectSettings(contexts=6, length=3, controls=19, doses=(1.0, 2.0))


@pytest.fixture(scope="module")
def maximum(sae):
    out = np.zeros(sae.d_sae, np.float32)
    out[[SPORT, 8, 20]] = 8, 3, 3
    return out


def contexts(model, count=6):
    texts = ["the mayor says that the team", "a storm of snow and rain"] * count
    return torch.tensor([row[:5] for row in model.tokenizer.encode(texts)][:count])


@pytest.mark.parametrize("site", [str(site) for site in tiny.model().sites()])
def test_one_token_computed_again_is_what_a_whole_pass_gives(model, site):
    site, ids = Site.parse(site), contexts(model, 3)
    ids[1, 2] = 300
    steps = torch.randn(4, model.width(site), generator=torch.Generator().manual_seed(0))
    last = LastToken.read(model, ids, site)
    found = last.hidden_with(steps)
    for step, own in zip(steps, found, strict=True):

        def add(acts, step=step):
            out = acts.clone()
            out[:, -1] += step
            return out

        with model.edit(site, add), torch.no_grad():
            torch.testing.assert_close(own, model.hidden(ids)[:, -1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(last.hidden, model.hidden(ids)[:, -1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(last.acts, model.capture(ids, site)[site][:, -1], rtol=1e-4, atol=1e-4)


def test_what_is_measured_is_its_definition(model, sae):
    ids, step = contexts(model), 8 * sae.W_dec[SPORT]
    meter = Meter(model, LastToken.read(model, ids, sae.site))
    (found,) = meter.measure(step[None])
    p = model.logits(ids)[:, -1].log_softmax(-1)
    with model.edit(sae.site, lambda acts: torch.cat([acts[:, :-1], acts[:, -1:] + step], 1)):
        q = model.logits(ids)[:, -1].log_softmax(-1)
    assert np.allclose(found.kl, (p.exp() * (p - q)).sum(1), atol=1e-4)
    up = (q.exp() * (q - p))[:3].mean(0).topk(6).indices
    assert [moved.token for moved in found.raised] == up.tolist()
    assert np.allclose(found.gain, (q.exp() - p.exp())[3:, up].sum(1), atol=1e-5)
    assert np.allclose([moved.rise.mean for moved in found.raised], (q - p)[3:, up].mean(0), atol=1e-4)
    assert np.allclose([moved.after for moved in found.raised], q.exp()[3:, up].mean(0), atol=1e-5)
    down = (p.exp() * (p - q))[:3].mean(0).topk(6).indices
    assert [moved.token for moved in found.lowered] == down.tolist()


def test_a_planted_feature_writes_its_words_and_beats_chance(model, sae, maximum, tmp_path):
    run = EffectRun(model, sae, maximum, FEW)
    with EffectLog(tmp_path, run.about) as log:
        assert run.run(log, progress=lambda done, total: None)
        effects = run.effects(log)
    assert list(effects) == [SPORT, 8, 20]
    sport = effects[SPORT].full
    words = {model.tokenizer.piece(moved.token).strip().lower() for moved in sport.raised}
    assert words <= set(tiny.concepts["sport"])
    assert sport.writes
    assert sport.kl_p == sport.gain_p == 1 / 20
    assert sport.gain.low > sport.gain_random[1] > sport.gain_random[0]
    assert [one.dose for one in effects[SPORT].doses] == [1.0, 2.0]
    assert effects[SPORT].doses[1].kl.mean > sport.kl.mean > sport.kl_random[1]


def test_random_directions_have_uniform_p_values(model, sae, maximum, tmp_path):
    """Steps of any length, ranked among the controls' curves, as a feature would be."""
    run = EffectRun(model, sae, maximum, EffectSettings(contexts=4, length=3, controls=99))
    meter = Meter.neutral(model, sae, EffectSettings(contexts=4, length=3))
    draw = torch.Generator().manual_seed(5)
    unit = random_directions(sae, 300, draw)
    norms = np.exp(np.random.default_rng(1).uniform(np.log(2), np.log(12), 300))
    values = [found.kl.mean() for found in meter.measure(unit * torch.tensor(norms, dtype=torch.float32)[:, None])]
    with EffectLog(tmp_path, run.about) as log:
        run.run(log, progress=lambda done, total: None)
        curves = run._controls("random", log)
    p = [share_above(value, curves.at(norm)[0]) for value, norm in zip(values, norms, strict=True)]
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.12


def test_a_run_that_was_killed_in_the_middle_of_a_line_goes_on(model, sae, maximum, tmp_path):
    run = EffectRun(model, sae, maximum, FEW)
    with EffectLog(tmp_path / "whole", run.about) as log:
        run.run(log, progress=lambda done, total: None)
        expected = run.effects(log)
    told = []
    with EffectLog(tmp_path / "part", run.about) as log:
        assert not run.run(log, progress=lambda done, total: told.append(done), stop=lambda: len(told) > 2)
        assert run.effects(log) == {}
    file = tmp_path / "part" / "effects.jsonl"
    kept = file.read_bytes()
    file.write_bytes(kept[:-20])
    with EffectLog(tmp_path / "part", run.about) as log:
        assert 0 < len(log.rows) < kept.count(b"\n")
        assert run.run(log, progress=lambda done, total: None)
        assert run.effects(log) == expected
    assert all(json.loads(line) for line in file.read_bytes().splitlines())
    more = EffectRun(model, sae, maximum, EffectSettings(contexts=6, length=3, controls=19, doses=(0.5,)))
    with EffectLog(tmp_path / "part", more.about) as log:
        more.run(log, progress=lambda done, total: None)
        assert [one.dose for one in more.effects(log)[SPORT].doses] == [0.5, 1.0, 2.0]


def test_effects_measured_otherwise_are_not_mixed(model, sae, maximum, tmp_path):
    with EffectLog(tmp_path, EffectRun(model, sae, maximum, FEW).about):
        pass
    other = EffectRun(model, sae, maximum, EffectSettings(contexts=8, length=3, controls=19))
    with pytest.raises(BadConfig, match="measured with another contexts"), EffectLog(tmp_path, other.about):
        pass
    with EffectLog(tmp_path, EffectRun(model, sae, maximum, FEW).about), pytest.raises(Busy), EffectLog(tmp_path, other.about):
        pass


@pytest.mark.parametrize("doses", [(), (0.0,), (float("nan"),), (1e9,), (1.0, 1.0)])
def test_doses_that_cannot_be_are_refused(doses):
    with pytest.raises(BadConfig, match="doses are different numbers"):
        EffectSettings(doses=doses)


def test_an_interval_holds_its_mean():
    values = np.random.default_rng(3).exponential(size=32)
    found = estimate(values)
    assert found.low < found.mean < found.high
    assert np.isclose(found.mean, values.mean())
