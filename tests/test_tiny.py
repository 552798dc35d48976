"""What is planted can be read back exactly: the right answers that other tests build on are right."""

import time
from pathlib import Path

import pytest
import torch

from hooke import tiny
from hooke.codes import Codes
from hooke.model import Model
from hooke.names import Site
from hooke.sae import Sae

SITE = Site(0, "resid_post")
CONCEPTS = list(tiny.concepts)


def meanings(piece: str) -> set[int]:
    """The concept features that should be active on a token, from the words alone."""
    word = piece.strip().lower()
    return {i for i, words in enumerate(tiny.concepts.values()) if word in words}


def encode(model: Model, sae: Sae, ids: list[int]) -> Codes:
    return sae.encode(model.capture(torch.tensor([ids]), [SITE])[SITE][0])


def every_token_in_some_context(model: Model) -> list[list[int]]:
    """All ordinary tokens, shuffled, in texts of 60 with <bos> in front."""
    ids = torch.tensor([i for i in range(len(model.tokenizer)) if i not in model.tokenizer.special])
    shuffled = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))].tolist()
    return [[2, *shuffled[start : start + 60]] for start in range(0, len(shuffled), 60)]


def test_is_built_in_under_a_second() -> None:
    start = time.process_time()
    tiny.model()
    tiny.sae()
    assert time.process_time() - start < 1


def test_is_the_same_every_time_and_leaves_the_random_state_alone(model: Model) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = tiny.model()
    assert torch.equal(torch.rand(3), expected)
    for (name, one), other in zip(model.hf.named_parameters(), again.hf.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_planted_features_fire_on_exactly_the_planted_words(model: Model, sae: Sae) -> None:
    seen: set[int] = set()
    for ids in every_token_in_some_context(model):
        dense = encode(model, sae, ids).dense()[1:, : len(CONCEPTS)]
        for token, row in zip(ids[1:], dense, strict=True):
            fired = set(row.nonzero().flatten().tolist())
            assert fired == meanings(model.tokenizer.piece(token)), model.tokenizer.piece(token)
            assert all(abs(value - 8) < 0.6 for value in row[row > 0].tolist())
            seen |= fired
    assert seen == set(range(len(CONCEPTS)))


def test_every_planted_word_is_one_token_however_it_is_written(model: Model) -> None:
    for words in tiny.concepts.values():
        for word in words:
            for text in (word, word.capitalize(), f" {word}", f" {word.capitalize()}"):
                ids = model.tokenizer.encode([text])[0]
                assert model.tokenizer.pieces(ids[1:]) == [text]


def test_court_has_two_meanings(model: Model, sae: Sae) -> None:
    assert meanings("court") == {CONCEPTS.index("sport"), CONCEPTS.index("justice")}
    codes = encode(model, sae, model.tokenizer.encode(["the court"])[0])
    assert set(codes.rows(2, 3).feature.tolist()) >= meanings("court")


def test_the_other_features_are_what_they_are_said_to_be(model: Model, sae: Sae) -> None:
    fired = torch.zeros(tiny.D_SAE)
    for ids in every_token_in_some_context(model):
        codes = encode(model, sae, ids).rows(1, len(ids))
        active = codes.dense() > 0
        assert active[:, tiny.UBIQUITOUS].all()
        assert (active[:, tiny.UBIQUITOUS + 1 :].sum(1) == 2).all()
        fired += active.sum(0)
    assert (fired > 0).tolist() == [True] * 55 + [False] * 9


def test_the_sae_explains_the_activations(model: Model, sae: Sae) -> None:
    acts = torch.cat([model.capture(torch.tensor([ids]), [SITE])[SITE][0, 1:] for ids in every_token_in_some_context(model)])
    residual = (acts - sae.reconstruct(acts)).square().sum()
    assert residual / (acts - acts.mean(0)).square().sum() < 0.01


def test_bos_would_fire_every_concept(model: Model, sae: Sae) -> None:
    first = encode(model, sae, model.tokenizer.encode(["rain"])[0]).dense()[0, : len(CONCEPTS)]
    assert (first > 30).all()


def test_it_works_the_same_in_bfloat16(sae: Sae) -> None:
    model = tiny.model()
    model.hf.bfloat16()
    for ids in every_token_in_some_context(model):
        active = encode(model, sae, ids).dense()[1:, : len(CONCEPTS)] > 0
        assert [set(row.nonzero().flatten().tolist()) for row in active] == [meanings(model.tokenizer.piece(i)) for i in ids[1:]]


def test_a_concept_predicts_its_own_words_and_its_ablation_stops_that(model: Model, sae: Sae) -> None:
    for feature, concept in enumerate(CONCEPTS):
        ids = torch.tensor([model.tokenizer.encode([f"the {tiny.concepts[concept][0]}"])[0]])

        def ablate(acts: torch.Tensor, feature: int = feature) -> torch.Tensor:
            codes = sae.encode(acts[0]).dense()[:, feature, None]
            return acts - codes * sae.W_dec[feature]

        predicted = [model.tokenizer.piece(i) for i in model.hf(input_ids=ids).logits[0, -1].topk(20).indices.tolist()]
        assert all(feature in meanings(piece) for piece in predicted), predicted
        with model.edit(SITE, ablate):
            predicted = [model.tokenizer.piece(i) for i in model.hf(input_ids=ids).logits[0, -1].topk(20).indices.tolist()]
        assert sum(feature in meanings(piece) for piece in predicted) < 10, predicted


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Bank profit falls, court says",
        "two  spaces\nand lines\n\n",
        "zebra ZEBRA 1234 é 漢字 😀",
        "\ttab \x00 nul",
        "e\u0301",
        "a <b> c",
    ],
)
def test_the_tokenizer_loses_nothing(model: Model, text: str) -> None:
    ids = model.tokenizer.encode([text])[0]
    assert ids[0] == 2
    assert model.tokenizer.decode(ids) == text
    assert "".join(model.tokenizer.pieces(ids[1:])) == text
    assert model.tokenizer.backend.token_to_id("<unk>") not in ids


def test_saved_and_loaded_it_is_the_same(model: Model, sae: Sae, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    loaded, text = Model.load(str(tmp_path), dtype="float32"), "Storm floods the court, 漢"
    ids = model.tokenizer.encode([text])
    assert loaded.tokenizer.encode([text]) == ids
    assert loaded.tokenizer.special == model.tokenizer.special
    assert torch.equal(loaded.capture(torch.tensor(ids), [SITE])[SITE], model.capture(torch.tensor(ids), [SITE])[SITE])
    assert torch.equal(Sae.load(tmp_path / "sae.safetensors").W_enc, sae.W_enc)
    assert Sae.load(tmp_path / "sae.safetensors").facts == sae.facts


def test_the_planted_words_are_plain_and_the_ubiquitous_feature_comes_after_them() -> None:
    assert all(word == word.lower() and word.isalpha() for words in tiny.concepts.values() for word in words)
    assert len(CONCEPTS) == tiny.UBIQUITOUS == 8
