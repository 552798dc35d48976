"""A stream draws every token exactly as often as asked, and goes on from any of its positions with the very batches that followed."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hooke.errors import BadConfig, HookeError, LimitReached, UnknownName
from hooke.harvest.buffer import Buffer, Part
from hooke.harvest.stream import DrawnBatch, LiveStream, ShardStream, Stream, _places
from hooke.names import Site
from hooke.shards import ShardFacts, Shards
from hooke.shards.writer import writing
from hooke.text.corpus import Window

SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


def numbered(sizes: list[int]) -> list[Part]:
    """Parts whose activations say which token they are, a little differently at each site; corpora by turns."""
    start, parts = 0, []
    for number, size in enumerate(sizes):
        value = torch.arange(start, start + size, dtype=torch.float32)[:, None]
        columns = {SITES[0]: value, SITES[1]: 1000 + value.expand(-1, 2)}
        corpus = torch.full((size,), number % 2)
        parts.append(Part(columns, ["even", "odd"], corpus, {"special": number}))
        start += size
    return parts


@dataclass
class Numbered(Stream):
    """A stream of numbered parts that remembers which were read."""

    sizes: list[int]
    read: list[int] = field(default_factory=list)

    def _parts(self, skip: int) -> Iterator[Part]:
        for number, part in enumerate(numbered(self.sizes)[skip:], skip):
            self.read.append(number)
            yield part


def rows(batch: DrawnBatch) -> list[int]:
    return batch.acts[SITES[0]][:, 0].int().tolist()


def same(ours: list[DrawnBatch], theirs: list[DrawnBatch]) -> bool:
    return len(ours) == len(theirs) and all(
        a.position == b.position and a.acts.keys() == b.acts.keys() and all(torch.equal(a.acts[site], b.acts[site]) for site in a.acts)
        for a, b in zip(ours, theirs, strict=True)
    )


def stored(position: Any) -> Any:
    """What comes back of a position that was kept in a file."""
    return json.loads(json.dumps(position))


@pytest.mark.parametrize(
    ("capacity", "batch", "reuse"), [(64, 8, 1), (64, 8, 3), (16, 16, 2), (32, 16, 5), (18, 9, 2), (1001, 7, 2), (5, 1, 4)]
)
def test_each_row_is_drawn_as_often_as_asked(capacity, batch, reuse):
    sizes = [30, 1, 77, 0, 5, 90]
    batches = list(Numbered(sizes, capacity=capacity, batch=batch, reuse=reuse, seed=3).batches())
    drawn = Counter()
    for found in batches:
        first, second = found.acts[SITES[0]], found.acts[SITES[1]]
        assert len(first) == batch
        torch.testing.assert_close(second, 1000 + first.expand(-1, 2))
        assert len(first.unique()) == batch
        drawn.update(rows(found))
    total = sum(sizes)
    whole, last = total - total % capacity, total % capacity
    assert all(drawn[row] == reuse for row in range(whole))
    assert all(drawn[row] <= reuse for row in range(whole, total))
    assert sum(drawn.values()) == (whole + last - last % batch) * reuse
    assert set(drawn) <= set(range(total))
    if last >= batch or not last:
        assert batches[-1].position["undrawn"] == last % batch * reuse
        assert batches[-1].position["tokens"] == {"even": 112, "odd": 91}
        assert batches[-1].position["left_out"] == {"special": 15}


def test_each_pool_is_exactly_the_next_tokens():
    batches = list(Numbered([10, 7, 30, 17], capacity=16, batch=4, reuse=2).batches())
    for pool, found in enumerate(
        itertools.batched(batches, 8) if hasattr(itertools, "batched") else zip(*[iter(batches)] * 8, strict=True)
    ):
        assert sorted(row for batch in found for row in rows(batch)) == sorted([*range(16 * pool, 16 * pool + 16)] * 2)


def test_the_order_is_mixed_and_the_seed_decides_it():
    def order(seed: int) -> list[int]:
        return [row for batch in Numbered([256], capacity=128, batch=16, seed=seed).batches() for row in rows(batch)]

    assert order(1) == order(1) != order(2)
    assert order(1) != sorted(order(1))


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    batch=st.integers(1, 9),
    batches_in_pool=st.integers(1, 5),
    reuse=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_it_goes_on_from_every_position(sizes, batch, batches_in_pool, reuse, seed):
    stream = Numbered(sizes, capacity=batch * batches_in_pool, batch=batch, reuse=reuse, seed=seed)
    try:
        batches = list(stream.batches())
    except LimitReached:
        assert sum(sizes) < batch
        return
    for number, found in enumerate(batches):
        assert same(list(stream.batches(stored(found.position))), batches[number + 1 :])


def test_going_on_reads_the_pool_at_hand_and_nothing_before_it():
    stream = Numbered([16] * 8, capacity=32, batch=4, reuse=2)
    batches = list(stream.batches())
    stream.read.clear()
    next(stream.batches(batches[16 + 16 + 3].position))
    assert stream.read == [4, 5]


def test_a_position_can_be_used_again_and_is_not_changed():
    stream = Numbered([50], capacity=20, batch=5)
    position = [batch.position for batch in stream.batches()][2]
    before = stored(position)
    assert same(list(stream.batches(position)), list(stream.batches(position)))
    assert position == before


@pytest.mark.parametrize(("capacity", "batch", "reuse"), [(4, 8, 1), (8, 0, 1), (8, 4, 0), (17, 16, 1)])
def test_a_pool_that_cannot_be_is_refused(capacity, batch, reuse):
    with pytest.raises(BadConfig, match=rf"batch={batch} .*capacity={capacity} and divide it.*reuse={reuse}"):
        Numbered([20], capacity=capacity, batch=batch, reuse=reuse)


def test_less_than_a_batch_is_an_error_that_says_how_much_there_was():
    with pytest.raises(LimitReached, match=r"gave 7 tokens, not one batch of 8\. Give more text"):
        list(Numbered([3, 4], capacity=16, batch=8).batches())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 8}, r"batch=4 \(now 8\)"),
        ({"seed": 1, "reuse": 2}, r"reuse=1 \(now 2\), seed=0 \(now 1\)"),
    ],
)
def test_a_position_of_another_stream_is_refused(change, said):
    position = next(Numbered([64], capacity=32, batch=4).batches()).position
    with pytest.raises(BadConfig, match=f"of another stream: {said}"):
        next(Numbered([64], **{"capacity": 32, "batch": 4, **change}).batches(position))


@pytest.mark.parametrize("spoil", [{}, {"part": "x"}, {"rows": -1}, {"more": 1}])
def test_what_is_no_position_is_refused(spoil):
    stream = Numbered([64], capacity=32, batch=4)
    position = next(stream.batches()).position | spoil if spoil else {}
    with pytest.raises(BadConfig, match="no position of a stream"):
        next(stream.batches(position))


def test_a_buffer_is_filled_in_place():
    buffer = Buffer(12, iter(numbered([5, 40, 3])))
    assert buffer.fill()
    columns = {name: value.data_ptr() for name, value in buffer.columns.items()}
    while buffer.fill():
        assert {name: value.data_ptr() for name, value in buffer.columns.items()} == columns
    assert buffer.place == (3, 0)


@dataclass
class Told(Numbered):
    """Numbered parts in texts of the given lengths, each text within one part; `length` goes round."""

    lengths: tuple[int, ...] = (5, 1, 8, 2, 3)

    def _parts(self, skip: int) -> Iterator[Part]:
        for number, part in enumerate(super()._parts(skip), skip):
            n, turn = len(part.corpus), itertools.cycle(self.lengths)
            pos = torch.tensor([place for size in itertools.islice(turn, n) for place in range(size)][:n], dtype=torch.int32)
            yield dataclasses.replace(part, columns={**part.columns, **_places(number, pos)})


def texts(stream: Told) -> dict[int, tuple[int, int]]:
    """Text and position of every row."""
    columns = [part.columns for part in stream._parts(0)]
    told = zip(*(torch.cat([one[name] for one in columns]).flatten().int().tolist() for name in (SITES[0], "pos")), strict=True)
    text = torch.cat([one["text"] for one in columns]).tolist()
    return {row: (text[row], pos) for row, pos in told}


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    batch=st.sampled_from([4, 6, 8]),
    batches_in_pool=st.integers(1, 5),
    reuse=st.integers(1, 3),
    reach=st.integers(1, 5),
)
def test_pairs_are_of_one_text_and_near_and_it_goes_on_from_every_position(sizes, batch, batches_in_pool, reuse, reach):
    stream = Told(sizes, capacity=batch * batches_in_pool, batch=batch, reuse=reuse, pairs=reach)
    place = texts(stream)
    try:
        batches = list(stream.batches())
    except LimitReached:
        return
    drawn = Counter(row for found in batches for row in rows(found))
    assert max(drawn.values()) <= reuse
    assert sum(sizes) * reuse - sum(drawn.values()) >= batches[-1].position["undrawn"]
    for number, found in enumerate(batches):
        for early, late in zip(rows(found)[: batch // 2], rows(found)[batch // 2 :], strict=True):
            assert place[early][0] == place[late][0]
            assert 1 <= place[late][1] - place[early][1] <= reach
        assert same(list(stream.batches(stored(found.position))), batches[number + 1 :])


@pytest.mark.parametrize("lengths", [(1,), (1, 1, 2)])
def test_texts_too_short_for_a_batch_of_pairs_are_an_error(lengths):
    with pytest.raises(LimitReached, match=r"gave 6 tokens, not one batch of 4, or not two by two at most 3 tokens apart in one document"):
        list(Told([6], capacity=8, batch=4, pairs=3, lengths=lengths).batches())


@pytest.mark.parametrize(("batch", "pairs"), [(5, 1), (2, 1), (4, -1)])
def test_a_batch_that_holds_no_pairs_is_refused(batch, pairs):
    with pytest.raises(BadConfig, match=rf"pairs={pairs} with batch={batch}: .* an even number from 4 on"):
        Told([60], capacity=batch * 4, batch=batch, pairs=pairs)


# A model's activations, live and from shards.


def live(model, **options: Any) -> LiveStream:
    def make() -> Iterator[Window]:
        for number, ids in enumerate(model.tokenizer.encode(TEXTS * 8)):
            yield Window("news" if number % 3 else "prose", number, ids)

    return LiveStream(model, make, SITES, **{"capacity": 48, "batch": 8, "reuse": 2, "batch_tokens": 20} | options)


def test_a_live_stream_goes_on_from_every_position(model):
    batches = list(live(model).batches())
    for number, found in enumerate(batches):
        assert same(list(live(model).batches(stored(found.position))), batches[number + 1 :])
    counted = batches[-1].position
    special = len(TEXTS) * 8
    assert sum(counted["tokens"].values()) + special == sum(map(len, model.tokenizer.encode(TEXTS * 8)))
    assert counted["left_out"] == {"special": special}


def test_a_live_stream_gives_what_the_model_computes(model):
    alone = [model.capture(torch.tensor([ids]), SITES) for ids in model.tokenizer.encode(TEXTS)]
    known = torch.cat([acts[SITES[1]][0, 1:] for acts in alone])
    for batch in live(model, reuse=1).batches():
        assert float(torch.cdist(batch.acts[SITES[1]], known).min(1).values.max()) < 1e-4


@pytest.mark.parametrize("pack", [False, True])
def test_live_pairs_never_cross_documents(model, pack):
    """Documents that share a window too: each token's activation is found again where its document is read alone or in its window."""
    corpus = [Window("news", 0, ids) for ids in model.tokenizer.encode(TEXTS)]
    bos = model.tokenizer.bos
    if pack:  # two documents in each window
        bodies = [window.ids[1:] for window in corpus]
        corpus = [
            Window("news", 2 * i, [bos, *a, *b], ((0, 2 * i), (len(a) + 1, 2 * i + 1)))
            for i, (a, b) in enumerate(itertools.pairwise(bodies))
        ]
    known: dict[tuple[float, ...], set[tuple[int, int, int]]] = {}
    for number, window in enumerate(corpus):
        acts = model.capture(torch.tensor([window.ids]), SITES)[SITES[1]][0]
        for pos in range(1, len(window.ids)):
            known.setdefault(tuple((100 * acts[pos]).round().tolist()), set()).add((number, window.doc_at(pos), pos))
    options = {"capacity": 16, "batch": 4, "reuse": 1, "batch_tokens": 30, "pairs": 2}
    batches = list(LiveStream(model, lambda: iter(corpus * 3), SITES, **options).batches())
    assert batches
    for found in batches:
        early, late = (100 * found.acts[SITES[1]]).round().chunk(2)
        for one, other in zip(early.tolist(), late.tolist(), strict=True):
            places = itertools.product(known[tuple(one)], known[tuple(other)])
            assert any(a[:2] == b[:2] and 1 <= b[2] - a[2] <= 2 for a, b in places)


def test_an_activation_that_is_not_finite_stops_a_live_stream(model):
    def spoil(acts: torch.Tensor) -> torch.Tensor:
        acts = acts.clone()
        acts[0, 2, 3] = torch.nan
        return acts

    with model.edit(SITES[0], spoil), pytest.raises(HookeError, match=r"at resid_post\.0 are not finite in document \d+ of 'prose'|'news'"):
        list(live(model).batches())


@dataclass
class Filled:
    tokens: dict[str, int]
    left_out: dict[str, int]
    place: tuple[int, int]


def facts(tokens: int, shard_tokens: int) -> ShardFacts:
    sites = {str(SITES[0]): 1, str(SITES[1]): 2}
    corpora = [{"name": name, "weight": 1.0, "file": name, "bytes": 1} for name in ("even", "odd")]
    return ShardFacts("tiny", "float32", sites, corpora, tokens, shard_tokens, 8, False, 2, True, False, 50, 1, 0, 64)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Shards:
    """Five shards of 30 numbered tokens, the last with 11."""
    out = tmp_path_factory.mktemp("shards")
    with writing(out, facts(131, 30)) as writer:
        for index, part in enumerate(numbered([30, 30, 30, 30, 11])):
            n = len(part.corpus)
            columns = {f"acts.{site}": value.bfloat16() for site, value in part.columns.items()}
            columns |= {name: torch.arange(n, dtype=torch.int32) for name in ("ids", "doc", "pos")}
            name = part.names[index % 2]
            writer.write(columns | {"corpus": part.corpus.to(torch.uint8)}, Filled({name: n}, {"special": 1}, (index + 1, 0)), index == 4)
    return Shards.open(out)


def test_shards_are_read_in_another_order_every_epoch_and_every_token_comes_as_often_as_asked(shards):
    stream = ShardStream(shards, SITES, capacity=131, batch=131, epochs=3, seed=4)
    epochs = [rows(batch) for batch in stream.batches()]
    assert [sorted(epoch) for epoch in epochs] == [list(range(131))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    small = ShardStream(shards, SITES[:1], capacity=40, batch=4, reuse=2, epochs=2)
    batches = list(small.batches())
    assert set(batches[0].acts) == {SITES[0]}
    assert batches[-1].position["tokens"] == {"even": 142, "odd": 120}
    assert batches[-1].position["left_out"] == {"special": 10}


def test_a_shard_stream_goes_on_from_every_position(shards):
    stream = ShardStream(shards, SITES, capacity=40, batch=5, reuse=2, epochs=2, seed=1)
    batches = list(stream.batches())
    for number, found in enumerate(batches):
        assert same(list(stream.batches(stored(found.position))), batches[number + 1 :])


def test_pairs_from_shards_are_neighbours_in_one_document(tmp_path):
    """A document is told by its number and corpus, a window of it by positions that begin again."""
    doc = [0] * 4 + [1] * 3 + [1] * 5 + [1] * 2 + [2] * 1
    pos = [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 1]
    corpus = [0] * 12 + [1] * 3
    with writing(tmp_path / "s", facts(15, 15)) as writer:
        value = torch.arange(15, dtype=torch.float32)[:, None]
        columns = {f"acts.{SITES[0]}": value.bfloat16(), f"acts.{SITES[1]}": value.expand(-1, 2).bfloat16()}
        columns |= {"ids": torch.zeros(15, dtype=torch.int32), "corpus": torch.tensor(corpus, dtype=torch.uint8)}
        columns |= {name: torch.tensor(value, dtype=torch.int32) for name, value in (("doc", doc), ("pos", pos))}
        writer.write(columns, Filled({"even": 12, "odd": 3}, {}, (1, 0)), True)
    stream = ShardStream(Shards.open(tmp_path / "s"), SITES, capacity=16, batch=4, pairs=1, epochs=40)
    found = {pair for batch in stream.batches() for pair in zip(rows(batch)[:2], rows(batch)[2:], strict=True)}
    assert found == {(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (7, 8), (8, 9), (9, 10), (10, 11), (12, 13)}


def test_a_shard_stream_refuses_what_the_shards_have_not(shards):
    with pytest.raises(UnknownName, match=r"unknown site in the shards at .*: 'resid_post\.5'.*Known: mlp_out\.1, resid_post\.0"):
        ShardStream(shards, [Site(5, "resid_post")], capacity=40, batch=4)
    with pytest.raises(BadConfig, match="epochs=0"):
        ShardStream(shards, SITES, capacity=40, batch=4, epochs=0)
