"""What is published opens again, says what it is, and reaches a hub by the real client in one commit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_hub
import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig, Missing
from hooke.sae import Sae
from hooke.sae.publish import CARD, WEIGHTS, model_card, push_to_hub, save_pretrained

TOKEN = "hf_" + "x" * 34


@pytest.fixture
def sae() -> Sae:
    found = tiny.sae()
    training = {"corpus": {"news": 1_000_000, "books": 5}, "lr": 0.0003, "steps": 12_000, "seed": 7}
    return replace(found, facts=replace(found.facts, metrics={"l0": 3.5, "fvu": 0.0123}, training=training))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.Hub]:
    with fake_hub.serving() as serving:
        fake_hub.connect(serving, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield serving


def test_a_folder_opens_again(sae: Sae, tmp_path: Path) -> None:
    folder = save_pretrained(sae, tmp_path / "out", card={"licence": "cc-by-4.0"})
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]
    found = Sae.from_pretrained(folder)
    assert found.facts == sae.facts
    assert torch.equal(found.W_enc, sae.W_enc)
    before = (folder / WEIGHTS).read_bytes()
    save_pretrained(sae, folder)  # again, over itself
    assert (folder / WEIGHTS).read_bytes() == before
    assert (folder / WEIGHTS).stat().st_size > save_pretrained(sae, tmp_path / "small", weights="int8").joinpath(WEIGHTS).stat().st_size


def test_the_card_has_every_field(sae: Sae) -> None:
    card = model_card(sae, {"licence": "cc-by-4.0", "contact": "someone@example.org", "revision": "abc123"})
    head, _, body = card.removeprefix("---\n").partition("\n---\n")
    for line in ('library_name: "hooke"', 'base_model: "tiny"', 'license: "cc-by-4.0"', "tags: ["):
        assert line in head
    for row in (
        "| reads | resid\\_post.0 |",
        "| layer | 0 |",
        "| features | 64 |",
        "| activation | jumprelu |",
        "| normalisation | folded into the weights |",
        "| fvu | 0.0123 |",
        "| corpus | news: 1,000,000, books: 5 |",
        "| seed | 7 |",
        "| Revision of the model | abc123 |",
        "| Contact | someone@example.org |",
        "| Intended use | not stated |",
        "| Out-of-scope use | not stated |",
        "| Known failures | not stated |",
        "| Digest of the tokenizer | not stated |",
    ):
        assert row in body, row
    assert "not canonical" in body
    with pytest.raises(BadConfig, match=r"no field license. Known: revision, tokenizer, licence"):
        model_card(sae, {"license": "mit"})


def test_what_is_in_the_facts_cannot_break_the_card(sae: Sae) -> None:
    evil = "x | y\n---\n<script>alert(1)</script> [a](b) `c`"
    card = model_card(replace(sae, facts=replace(sae.facts, model=evil, training={evil: evil})), {"contact": evil})
    assert "<script>" not in card.partition("\n---\n")[2].replace("`" + evil.replace("`", "'").replace("\n", " ") + "`", "")
    assert card.count("\n---\n") == 1
    assert all(line.endswith(" |") for line in card.splitlines() if line.startswith("| "))


def test_other_peoples_folders_are_left_alone(sae: Sae, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadConfig, match=r"holds other things \(thesis.tex\)"):
        save_pretrained(sae, tmp_path)
    with pytest.raises(BadConfig, match="it is a file"):
        save_pretrained(sae, tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_pushed_and_pulled_again(hub: fake_hub.Hub, sae: Sae) -> None:
    ref = push_to_hub(sae, "me/saes", path="layer_0", card={"licence": "mit"})
    assert set(hub.repos["me/saes"].files) == {f"layer_0/{WEIGHTS}", f"layer_0/{CARD}"}
    assert ref == f"me/saes@{hub.repos['me/saes'].commit}/layer_0"
    assert sum("/commit/" in line for line in hub.seen) == 1
    assert any(line.startswith("PUT /lfs/") for line in hub.seen)
    assert all(line.endswith("+token") for line in hub.seen if line.startswith("POST /api/repos"))
    found = Sae.from_pretrained(ref)
    assert found.facts == sae.facts
    assert torch.equal(found.W_dec, sae.W_dec)
    assert Sae.from_pretrained("me/saes/layer_0").facts == sae.facts
    assert push_to_hub(sae, "me/saes", path="layer_1").endswith("/layer_1")  # the repository is there already


def test_pushing_without_a_token_or_a_hub(hub: fake_hub.Hub, sae: Sae, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(Missing, match="401"):
        push_to_hub(sae, "me/saes")
    with pytest.raises(BadConfig, match="It is written org/name"):
        push_to_hub(sae, "me")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.seen.clear()
    with pytest.raises(Missing, match="switched off"):
        push_to_hub(sae, "me/saes")
    assert hub.seen == []
