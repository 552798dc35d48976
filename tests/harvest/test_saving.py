"""A harvest on disk holds what the model computes, every token once, and is the same to the byte however it was stopped."""

import json
from pathlib import Path

import fsspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.errors import BadConfig, HookeError, LimitReached, UnknownName
from hooke.harvest.saving import HarvestConfig, save
from hooke.names import Site
from hooke.shards import Shards
from hooke.text.corpus import Corpus, documents, windows

SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")
CONFIG = HarvestConfig(300, context=7, shard_tokens=90, batch_tokens=40)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> list[Corpus]:
    folder = tmp_path_factory.mktemp("corpora")
    for name, repeats in (("news", 40), ("prose", 30)):
        texts = TEXTS * repeats
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return [Corpus("news", folder / "news.jsonl", 2.0), Corpus("prose", folder / "prose.jsonl")]


def contents(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in where.iterdir()}


@pytest.fixture(scope="module")
def whole(model, corpora, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "acts"
    assert [shard.tokens for shard in save(model, corpora, SITES, out, CONFIG)] == [90, 90, 90, 30]
    return out


@pytest.mark.parametrize("pack", [False, True])
def test_every_row_is_what_the_model_computes_at_its_place(model, corpora, tmp_path, pack):
    config = HarvestConfig(200, context=7, pack=pack, shard_tokens=90, batch_tokens=40)
    list(save(model, corpora, SITES, tmp_path, config))
    shards = Shards.open(tmp_path)
    read = [shards.read(index) for index in range(len(shards))]
    rows = {name: torch.cat([part[name] for part in read]) for name in read[0]}
    texts = {corpus.name: list(documents(corpus.path)) for corpus in corpora}
    expected: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for window in windows(corpora, model.tokenizer, length=7, seed=0, pack=pack):
        alone = model.capture(torch.tensor([window.ids]), SITES)
        number = [corpus.name for corpus in corpora].index(window.corpus)
        for pos, token in enumerate(window.ids):
            expected.setdefault((number, window.doc_at(pos), pos, token), []).append(alone[SITES[0]][0, pos])
    for row in range(200):
        number, doc, pos, token = (int(rows[name][row]) for name in ("corpus", "doc", "pos", "ids"))
        assert model.tokenizer.piece(token).strip() in texts[corpora[number].name][doc]
        acts = rows["acts.resid_post.0"][row].float()
        assert min(float((acts - one).norm() / one.norm()) for one in expected[number, doc, pos, token]) < 0.01
    assert token not in model.tokenizer.special


def test_counts_and_shares(model, corpora, whole):
    shards = Shards.open(whole)
    assert shards.tokens == sum(shards.corpora.values()) == 300
    assert 0.6 < shards.corpora["news"] / 300 < 0.73
    assert set(shards.left_out) <= {"special", "sink"}
    assert shards.left_out["special"] > 0
    assert shards.facts.sites == {"resid_post.0": 32, "mlp_out.1": 32}
    assert (shards.facts.model, shards.facts.bos, shards.facts.context) == ("tiny", model.tokenizer.bos, 7)


@settings(max_examples=15)
@given(stops=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_stopped_after_any_shards_it_ends_with_the_same_bytes(model, corpora, whole, tmp_path_factory, stops):
    out = tmp_path_factory.mktemp("acts")
    for count in stops:
        going = save(model, corpora, SITES, out, CONFIG)
        for _ in zip(range(count), going, strict=False):
            pass
        going.close()
    list(save(model, corpora, SITES, out, CONFIG))
    assert contents(out) == contents(whole)
    assert list(save(model, corpora, SITES, out, CONFIG)) == []


def test_stopped_in_the_middle_of_a_shard_it_ends_with_the_same_bytes(model, corpora, whole, tmp_path):
    class Enough(Exception):
        pass

    def stop_at(limit: int):
        def report(tokens: int) -> None:
            if tokens > limit:
                raise Enough

        return report

    for limit in (20, 100, 100, 150, 260, 299):
        with pytest.raises(Enough):
            list(save(model, corpora, SITES, tmp_path, CONFIG, stop_at(limit)))
    heard = []
    list(save(model, corpora, SITES, tmp_path, CONFIG, heard.append))
    assert contents(tmp_path) == contents(whole)
    assert heard == sorted(heard)
    assert heard[-1] == 300  # though the last batch has more


def test_an_address_gets_the_same_bytes(model, corpora, whole):
    list(save(model, corpora, SITES, "memory://saving/acts", CONFIG))
    system = fsspec.filesystem("memory")
    assert {Path(path).name: system.cat_file(path) for path in system.find("/saving/acts")} == contents(whole)


def test_corpora_that_end_early_are_an_error_and_all_they_gave_is_kept(model, corpora, tmp_path):
    config = HarvestConfig(100_000, context=7, shard_tokens=400, batch_tokens=40)
    for _ in range(2):
        with pytest.raises(LimitReached, match=r"gave 1,\d\d\d tokens of the 100,000 .*holds them all and is ready.*epochs=2"):
            list(save(model, corpora, SITES, tmp_path, config))
        shards = Shards.open(tmp_path)
        assert shards.complete
        expected = sum(len(set(range(len(w.ids))) - {0}) for w in windows(corpora, model.tokenizer, length=7, seed=0))
        assert shards.tokens == sum(len(shards.read(index)["ids"]) for index in range(len(shards))) == expected


def test_corpora_that_end_with_a_shard_are_complete(model, corpora, tmp_path):
    total = sum(len(window.ids) - 1 for window in windows(corpora, model.tokenizer, length=7, seed=0))
    with pytest.raises(LimitReached):
        list(save(model, corpora, SITES, tmp_path, HarvestConfig(total + 5, context=7, shard_tokens=total)))
    shards = Shards.open(tmp_path)
    assert (len(shards), shards.complete) == (1, True)


def test_other_settings_in_the_same_folder_are_refused(model, corpora, whole):
    with pytest.raises(BadConfig, match=r"tokens: 300 there, 301 now"):
        list(save(model, corpora, SITES, whole, HarvestConfig(301, context=7, shard_tokens=90, batch_tokens=40)))
    with pytest.raises(BadConfig, match=r"sites: .* there, {'resid_post\.0': 32} now"):
        list(save(model, corpora, SITES[:1], whole, CONFIG))
    assert Shards.open(whole).tokens == 300


def test_an_activation_that_is_not_finite_is_named_and_what_was_before_is_kept(model, corpora, whole, tmp_path):
    first = next(save(model, corpora, SITES, tmp_path / "acts", CONFIG))
    calls = 0

    def spoil(acts: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return acts * torch.nan if calls > 3 else acts

    with model.edit(SITES[0], spoil), pytest.raises(HookeError, match=r"at resid_post\.0 are not finite in document \d+ of '(news|prose)'"):
        list(save(model, corpora, SITES, tmp_path / "acts", CONFIG))
    assert list(Shards.open(tmp_path / "acts").shards)[:1] == [first]
    list(save(model, corpora, SITES, tmp_path / "acts", CONFIG))
    assert contents(tmp_path / "acts") == contents(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": 0}, "tokens=0 must be at least 1"),
        ({"shard_tokens": 0}, "shard_tokens=0 must be at least 1"),
        ({"context": 1}, "context=1 and one_in=50 must be at least 2"),
        ({"seed": -1}, "seed=-1 at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, said):
    with pytest.raises(BadConfig, match=said):
        HarvestConfig(**{"tokens": 10} | change)


def test_what_the_model_cannot_do_is_refused(model, corpora, tmp_path):
    with pytest.raises(UnknownName):
        list(save(model, corpora, [Site(99, "resid_post")], tmp_path, CONFIG))
    with pytest.raises(BadConfig, match="no site to harvest at"):
        list(save(model, corpora, [], tmp_path, CONFIG))
    with pytest.raises(BadConfig, match=r"tiny reads at most [\d,]+ tokens at once; asked for is a context of 1,000,000"):
        list(save(model, corpora, SITES, tmp_path, HarvestConfig(10, context=10**6)))
    with pytest.raises(BadConfig, match="each with a name of its own"):
        list(save(model, corpora[:1] * 2, SITES, tmp_path, CONFIG))
