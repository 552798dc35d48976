"""What is harvested is what the model computes on each window alone; what the buffer gives is what went in, as often as asked."""

from collections import Counter

import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig, HookeError
from hooke.harvest import Harvested, harvest, pad, shuffled
from hooke.names import Site
from hooke.text.corpus import Window

SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


@pytest.fixture(scope="module")
def model():
    return tiny.model()


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
    assert part.left_out == 2
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


def test_pad():
    ids, real = pad([[5, 6, 7], [8]], filler=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert real.tolist() == [[True, True, True], [True, False, False]]


def numbered(sizes: list[int]) -> list[Harvested]:
    """Harvests whose activations say which token they are, a little differently at each site."""
    start, parts = 0, []
    for size in sizes:
        value = torch.arange(start, start + size, dtype=torch.float32)[:, None]
        none = torch.zeros(size, dtype=torch.int64)
        parts.append(Harvested({SITES[0]: value, SITES[1]: 1000 + value.expand(-1, 2)}, none, none, none, [], 0))
        start += size
    return parts


@pytest.mark.parametrize(
    ("capacity", "batch", "reuse"), [(64, 8, 1), (64, 8, 3), (16, 16, 2), (17, 16, 5), (10, 9, 2), (1000, 7, 2), (5, 1, 4)]
)
def test_each_row_is_drawn_as_often_as_asked(capacity, batch, reuse):
    sizes = [30, 1, 77, 0, 5, 90]
    batches = list(shuffled(numbered(sizes), capacity=capacity, batch=batch, reuse=reuse, seed=3))
    drawn = Counter()
    for rows in batches:
        first, second = rows[SITES[0]], rows[SITES[1]]
        assert len(first) == batch
        torch.testing.assert_close(second, 1000 + first.expand(-1, 2))
        assert len(first.unique()) == batch
        drawn.update(first[:, 0].int().tolist())
    assert set(drawn) <= set(range(sum(sizes)))
    assert max(drawn.values()) <= reuse
    short = [row for row in range(sum(sizes)) if drawn[row] < reuse]
    assert len(short) < batch, "only what no longer fills a batch may be left out"


def test_the_order_is_mixed_and_the_seed_decides_it():
    def order(seed: int) -> list[int]:
        return torch.cat([rows[SITES[0]] for rows in shuffled(numbered([256]), capacity=128, batch=16, seed=seed)])[:, 0].int().tolist()

    assert order(1) == order(1) != order(2)
    assert order(1) != sorted(order(1))


@pytest.mark.parametrize(("capacity", "batch", "reuse"), [(4, 8, 1), (8, 0, 1), (8, 4, 0)])
def test_a_buffer_that_cannot_be_is_refused(capacity, batch, reuse):
    with pytest.raises(BadConfig, match=rf"batch={batch} .*capacity={capacity}.*reuse={reuse}"):
        next(shuffled(numbered([20]), capacity=capacity, batch=batch, reuse=reuse))
