"""What is harvested is what the model computes on each window alone."""

import pytest
import torch

from hooke import tiny
from hooke.errors import BadFile, HookeError
from hooke.harvest import Harvested, harvest, pad, read
from hooke.names import Site
from hooke.text.corpus import Window

SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


def cut(model, texts=TEXTS) -> list[Window]:
    return [Window("stories", n, ids) for n, ids in enumerate(model.tokenizer.encode(texts))]


def by_token(parts: list[Harvested]) -> dict[tuple[int, int], tuple[int, dict[Site, torch.Tensor]]]:
    """Document and position to token id and activations; every place at most once."""
    found = {}
    for part in parts:
        for row, (window, pos, token) in enumerate(zip(part.window.tolist(), part.pos.tolist(), part.ids.tolist(), strict=True)):
            place = (part.windows[window].doc, pos)
            assert place not in found
            found[place] = token, {site: value[row] for site, value in part.acts.items()}
    return found


@pytest.mark.parametrize("batch_tokens", [1, 12, 4096])
def test_acts_are_those_of_each_window_alone(model, batch_tokens):
    windows = cut(model)
    windows[-1].ids.insert(3, model.tokenizer.backend.token_to_id("<eos>"))
    parts = list(harvest(model, windows, SITES, batch_tokens=batch_tokens, drop_sinks=False))
    found = by_token(parts)
    places = 0
    for window in windows:
        alone = model.capture(torch.tensor([window.ids]), SITES)
        for pos, token in enumerate(window.ids):
            if token in model.tokenizer.special:
                assert (window.doc, pos) not in found
                continue
            places += 1
            assert found[window.doc, pos][0] == token
            for site in SITES:
                torch.testing.assert_close(found[window.doc, pos][1][site], alone[site][0, pos], atol=1e-5, rtol=1e-5)
    assert len(found) == places
    special = sum(token in model.tokenizer.special for window in windows for token in window.ids)
    assert sum(part.left_out for part in parts) == special == len(TEXTS) + 1


def test_sinks_are_dropped_and_counted(model):
    windows = cut(model, ["the bank after the storm and the match"])
    (calm,) = harvest(model, windows, SITES)
    assert calm.left_out == 1  # <bos>
    sink = int(calm.pos[3])

    def spike(acts: torch.Tensor) -> torch.Tensor:
        acts = acts.clone()
        acts[:, sink] *= 40
        return acts

    with model.edit(SITES[0], spike):
        (part,) = harvest(model, windows, SITES[:1])
        (whole,) = harvest(model, windows, SITES[:1], drop_sinks=False)
        both = read(model, windows, SITES, True, judged=SITES[:1])
        other = read(model, windows, SITES, True, judged=SITES[1:])
    assert both.pos.tolist() == part.pos.tolist()
    assert sink in other.pos.tolist()
    assert (part.special, part.sinks, part.left_out) == (1, 1, 2)
    assert part.pos.tolist() == [pos for pos in calm.pos.tolist() if pos != sink]
    assert sink in whole.pos.tolist()


def test_an_activation_that_is_not_finite_is_named(model):
    windows = cut(model)

    def spoil(acts: torch.Tensor) -> torch.Tensor:
        acts = acts.clone()
        acts[1, 2, 0] = torch.inf  # the second longest window of the batch
        return acts

    second = sorted(windows, key=lambda window: -len(window.ids))[1]
    with (
        model.edit(SITES[0], spoil),
        pytest.raises(HookeError, match=rf"resid_post\.0 are not finite in document {second.doc} of 'stories'"),
    ):
        list(harvest(model, windows, SITES[:1], drop_sinks=False))


def test_a_weight_behind_it_is_named():
    model = tiny.model()
    with torch.no_grad():
        model.hf.get_input_embeddings().weight[model.tokenizer.encode(["the storm"])[0][-1]] = torch.nan
    with pytest.raises(BadFile, match=r"not finite in document 0 of 'stories'\. The weight 'model\.embed_tokens\.weight' of tiny holds"):
        list(harvest(model, cut(model, ["the storm"]), SITES[:1]))


def test_pad():
    ids, real = pad([[5, 6, 7], [8]], filler=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert real.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("skip", [1, 2, 5, 100])
def test_batches_passed_over_leave_the_rest_as_they_were(model, skip, monkeypatch):
    windows = cut(model, TEXTS * 3)
    whole = list(harvest(model, windows, SITES, batch_tokens=12))
    calls, capture = [], model.capture
    monkeypatch.setattr(model, "capture", lambda ids, sites: calls.append(len(ids)) or capture(ids, sites))
    rest = list(harvest(model, windows, SITES, batch_tokens=12, skip=skip))
    assert len(calls) == len(rest) == max(0, len(whole) - skip)
    for part, same in zip(rest, whole[skip:], strict=True):
        assert part.windows == same.windows
        assert part.ids.tolist() == same.ids.tolist()
        assert all(torch.equal(part.acts[site], same.acts[site]) for site in SITES)
