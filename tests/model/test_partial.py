"""A pass that begins at a site is a whole pass with that site edited; losses in pieces are losses from all logits at once."""

import pytest
import torch
from evals import reading

from hooke import tiny
from hooke.evals.run import padded
from hooke.model.partial import Passes, losses
from hooke.names import Site


@pytest.fixture(scope="module")
def batch(model):
    windows = reading.windows(model, 5)
    windows[2].ids[3] = 1  # an end-of-sequence token in the middle
    return windows


def whole(model, ids, site, fn):
    with model.edit(site, fn), torch.no_grad():
        return model.architecture.base(model.hf)(input_ids=ids, use_cache=False).last_hidden_state


@pytest.mark.parametrize("site", [str(site) for site in tiny.model().sites()])
def test_from_any_site_upwards_is_a_whole_pass_with_that_site_edited(model, batch, site):
    ids, keep = padded(model, batch)
    passes = Passes.clean(model, ids, keep, [Site.parse(site)])

    def only_kept(acts):
        out = acts.clone()
        out[keep] = 0.5 * acts[keep] - 1
        return out

    found = passes.hidden_with({Site.parse(site): lambda x: 0.5 * x - 1})
    torch.testing.assert_close(found, whole(model, ids, site, only_kept)[keep], rtol=0, atol=0)
    everywhere = passes.hidden_with({Site.parse(site): torch.zeros_like}, everywhere=True)
    torch.testing.assert_close(everywhere, whole(model, ids, site, torch.zeros_like)[keep], rtol=0, atol=0)
    again = Passes.clean(model, ids, keep, [Site.parse(site)])
    assert torch.equal(again.hidden, passes.hidden)  # the blocks were given their own forward back


def test_special_positions_and_padding_are_not_counted(model, batch):
    ids, keep = padded(model, batch)
    assert int(keep.sum()) == sum(len(window.ids) - 1 for window in batch) - 1
    passes = Passes.clean(model, ids, keep, [Site(0, "resid_post"), Site(1, "mlp_in")])
    acts = model.capture(ids, [Site(0, "resid_post"), Site(1, "mlp_in")])
    side_by_side = torch.cat([value[keep] for value in acts.values()], 1)
    torch.testing.assert_close(passes.at([Site(0, "resid_post"), Site(1, "mlp_in")]), side_by_side, rtol=0, atol=0)


def test_some_rows_are_a_batch_of_those_rows(model, batch):
    ids, keep = padded(model, batch)
    site = Site(0, "resid_post")
    part = Passes.clean(model, ids, keep, [site]).rows(torch.tensor([1, 4]))
    alone = Passes.clean(model, ids[[1, 4]], keep[[1, 4]], [site])
    torch.testing.assert_close(part.hidden_with({site: torch.zeros_like}), alone.hidden_with({site: torch.zeros_like}))


def test_edits_together_feed_those_above(model, batch):
    ids, keep = padded(model, batch)
    low, read, high = Site(0, "resid_post"), Site(1, "mlp_in"), Site(1, "mlp_out")
    passes = Passes.clean(model, ids, keep, [low, read, high])
    found = passes.hidden_joined([(read, high, lambda x: 2 * x), (low, low, lambda x: x + 1)])
    seen = {}

    def into(kept):
        def put(acts):
            out = acts.clone()
            out[keep] = kept(acts[keep])
            return out

        return put

    def look(acts):
        seen["read"] = acts[keep].clone()
        return acts

    with model.edit(low, into(lambda x: x + 1)), model.edit(read, look), model.edit(high, into(lambda _: 2 * seen["read"])):
        expected = whole(model, ids, low, lambda acts: acts)[keep]
    torch.testing.assert_close(found, expected)


def test_losses_in_pieces_are_losses_at_once(model, batch, monkeypatch):
    for limit, tokens in (
        ("hooke.model.partial._CLEAN_VALUES", 7),
        ("hooke.model.head._LOGIT_VALUES", 5),
        ("hooke.model.head._CACHED_VALUES", 2),
    ):
        monkeypatch.setattr(limit, tokens * model.hf.config.vocab_size)
    ids, keep = padded(model, batch)
    passes = Passes.clean(model, ids, keep, [Site(0, "resid_post")])
    clean = passes.hidden[keep]
    other = clean + 0.3 * torch.randn_like(clean)
    targets = torch.randint(0, 50, (len(clean),))
    targets[::5] = -1
    found = losses(model, clean, [other, clean], targets)
    first, second = (model.hf.lm_head(h).double().log_softmax(-1).detach() for h in (clean, other))
    own = -first.gather(1, targets.clamp_min(0)[:, None])[:, 0].masked_fill(targets < 0, 0)
    torch.testing.assert_close(found.clean, own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.kl[0], (first.exp() * (first - second)).sum(-1), rtol=1e-4, atol=1e-5)
    assert float(found.kl[1].abs().max()) == 0
    assert torch.equal(found.cross_entropy[1], found.clean)
