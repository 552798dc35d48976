"""Tokens and the text they stand for: pieces add up to the text, special tokens are kept out, markers in a text are only characters."""

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from hooke import tiny
from hooke.errors import BadFile, Missing
from hooke.text.tokens import Tokenizer

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=30)


def byte_level() -> Tokenizer:
    """GPT-2's way in small: every byte a printable character, a few merges, one special and one ordinary added token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ã", "©"), ("ð", "Ł")]
    pieces = ["<|end|>", *alphabet, *(left + right for left, right in merges)]
    backend = tokenizers.Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|end|>"])
    backend.add_tokens(["[née]"])
    return Tokenizer(backend, bos=0)


TOKENIZERS = {"sentencepiece": tiny.model().tokenizer, "byte level": byte_level()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=150)
@given(text=TEXT)
def test_pieces_add_up_to_the_text(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    (ids,) = tokenizer.encode([text])
    assert ids[0] == tokenizer.bos
    assert not tokenizer.special & set(ids[1:])
    pieces = tokenizer.pieces(ids[1:])
    assert len(pieces) == len(ids) - 1
    assert "".join(pieces) == tokenizer.decode(ids) == text
    assert text == tokenizer.backend.decode(ids[1:], skip_special_tokens=False)


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=80)
@given(data=st.data())
def test_any_ids_have_pieces_that_add_up(kind: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) + 3), max_size=12))
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    shown = [i for i in ids if i not in tokenizer.special]
    assert tokenizer.decode(ids) == "".join(tokenizer.pieces(shown))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_character_of_several_tokens_stands_with_the_last(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    for text in ("漢", "😀", "a漢b"):
        (ids,) = tokenizer.encode([text])
        pieces = tokenizer.pieces(ids[1:])
        assert "�" not in "".join(pieces)
        assert [piece for piece in pieces if piece] == list(text)
    (ids,) = tokenizer.encode(["漢"])
    assert tokenizer.pieces(ids[1:3]) == ["", "�"]  # broken off
    assert "".join(tokenizer.pieces([*ids[1:2], *tokenizer.encode(["a"])[0][1:]])) == "�a"
    assert tokenizer.piece(ids[1]) == "�"


def test_byte_level_pieces_are_text_and_not_its_spelling() -> None:
    tokenizer = TOKENIZERS["byte level"]
    (ids,) = tokenizer.encode(["the thé\n[née]"])
    assert tokenizer.pieces(ids[1:]) == ["the", " ", "th", "é", "\n", "[née]"]


@pytest.mark.parametrize(("kind", "marker"), [("sentencepiece", "<bos>"), ("sentencepiece", "<eos>"), ("byte level", "<|end|>")])
def test_a_marker_written_in_a_text_is_only_characters(kind: str, marker: str) -> None:
    tokenizer = TOKENIZERS[kind]
    (ids,) = tokenizer.encode([f"a {marker} b"])
    assert not tokenizer.special & set(ids[1:])
    assert tokenizer.decode(ids) == f"a {marker} b"


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_special_tokens_are_never_shown(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    (ids,) = tokenizer.encode(["the"])
    mixed = [i for token in ids[1:] for i in (*tokenizer.special, token, *tokenizer.special)]
    assert tokenizer.decode(mixed) == "the"
    assert tokenizer.decode([*tokenizer.special]) == ""


def test_without_a_first_token_nothing_is_put_in_front() -> None:
    tokenizer = Tokenizer(byte_level().backend, bos=None, special=[5])
    assert tokenizer.special == {0, 5}
    assert tokenizer.pieces(tokenizer.encode(["the"])[0]) == ["the"]
    assert tokenizer.encode([""]) == [[]]
    assert tokenizer.encode([]) == []


def test_texts_together_are_what_they_are_alone() -> None:
    for tokenizer in TOKENIZERS.values():
        texts = ["the", "", "é 漢", "the the the"]
        assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]


def test_a_saved_tokenizer_reads_the_same(tmp_path: Path) -> None:
    for kind, tokenizer in TOKENIZERS.items():
        tokenizer.backend.save(str(tmp_path / kind))
        opened = Tokenizer.open(tmp_path / kind, tokenizer.bos)
        assert opened.special == tokenizer.special
        assert len(opened) == len(tokenizer)
        assert opened.encode(["<bos> the [née] <|end|>"]) == tokenizer.encode(["<bos> the [née] <|end|>"])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 5}', "\0" * 9])
def test_what_is_no_tokenizer_is_refused_by_its_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(BadFile) as caught:
        Tokenizer.open(tmp_path / "tokenizer.json", 0)
    assert str(caught.value).startswith(f"{tmp_path / 'tokenizer.json'} is not a tokenizer: ")


def test_a_tokenizer_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no tokenizer at "):
        Tokenizer.open(tmp_path / "tokenizer.json", 0)


@pytest.mark.parametrize("way", ["always", "first", "bytes"])
@pytest.mark.parametrize("text", ["a b", "b", "  b a", "   ", " ", "", "ﬁ", "日本 a", "a  b "])
def test_a_space_that_is_put_only_where_there_is_none_leaves_two_to_the_text(way: str, text: str) -> None:
    """As Metaspace and GPT-2's way with a prefix do; whether one space was there cannot be told from the ids, which are the same."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.pre_tokenizer = byte_level if way == "bytes" else pre_tokenizers.Metaspace(prepend_scheme=way)
    alphabet = byte_level.alphabet() if way == "bytes" else list("▁abﬁ日本")
    learnt = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(["a b", "  b a", "b  a"] * 9, learnt)
    tokenizer = Tokenizer(backend, None)
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids) == "".join(tokenizer.pieces(ids, begins=True)) == text
    assert tokenizer.encode([tokenizer.decode(ids)]) == [ids]


@pytest.mark.parametrize("way", ["normalizer", "pre_tokenizer"])
def test_a_space_that_the_tokenizer_puts_in_front_is_no_text(way):
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, normalizers, pre_tokenizers

    vocabulary = {piece: index for index, piece in enumerate(["<unk>", "▁", "a", "b", "▁a"])}
    backend = Backend(models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>"))
    if way == "normalizer":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁"), normalizers.Prepend("▁")])
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer = Tokenizer(backend, None)
    for text in ("a b", " a", "b", "  b a"):
        (ids,) = tokenizer.encode([text])
        assert tokenizer.decode(ids) == "".join(tokenizer.pieces(ids, begins=True)) == text
        assert tokenizer.encode([tokenizer.decode(ids)]) == [ids]
    assert tokenizer.piece(4) == " a"
