"""The tables give the ids that the library gives for the same ``tokenizer.json``."""

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.model import Model
from hooke.model.carried import sentencepiece_bpe
from hooke.text import tokens
from hooke.text.bpe import Bpe, tables_of
from hooke.text.tokens import Tokenizer

WORDS = [
    "▁",
    "▁▁",
    "a",
    "b",
    "é",
    "n",
    "▁a",
    "an",
    "ban",
    "▁ban",
    "na",
    "ana",
    "bb",
    "▁▁a",
    "b▁",
    "\n",
    "\n\n",
    "<b>",
    "<",
    ">",
    "<bb>",
    "日",
]


@pytest.fixture(scope="module")
def both() -> tuple[Bpe, tokenizers.Tokenizer]:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    kinds = np.array([3] * 4 + [6] * 256 + [4 if word in ("▁▁", "\n\n", "<b>", "<bb>") else 1 for word in WORDS])
    library = sentencepiece_bpe(pieces, -np.arange(len(pieces), dtype=float), kinds, 3)
    tables = tables_of(library.to_str())
    library.encode_special_tokens = True
    return Bpe(tables), library


@settings(max_examples=400)
@given(text=st.text(st.sampled_from("abé n▁\n<>日🙂\u0301\x00"), max_size=40) | st.text(max_size=20))
def test_ids_are_those_of_the_library(both, text: str):
    ours, library = both
    assert ours.encode(text) == library.encode(text, add_special_tokens=False).ids


def test_a_run_of_equal_pairs_is_joined_from_the_left(both):
    ours, library = both
    for text in ("a" * 9, "b" * 7, "banana" * 5, "\n" * 5, " " * 7, "<bb><b><b"):
        assert ours.encode(text) == library.encode(text, add_special_tokens=False).ids


def test_pieces_are_written_as_in_the_file(both):
    ours, library = both
    assert len(ours) == library.get_vocab_size()
    assert [ours.piece(token) for token in range(-1, len(ours) + 1)] == [None, *map(library.id_to_token, range(len(ours) + 1))]
    assert ours.special == {0, 1, 2, 3}


@pytest.mark.real
@settings(max_examples=300)
@given(drawn=st.text(max_size=60) | st.lists(st.integers(0, 262_143), max_size=9))
def test_the_carried_tokenizer_reads_as_the_library_does(drawn: str | list[int]):
    tokenizer = real()
    text = drawn if isinstance(drawn, str) else tokenizer.decode(drawn)
    (ids,) = tokenizer.encode([text])
    assert ids[1:] == tokenizer.backend.encode(text, add_special_tokens=False).ids


_REAL: list[Tokenizer] = []


def real() -> Tokenizer:
    """One that goes on with the tables, however much is read."""
    if not _REAL:
        _REAL.append(Model.load().tokenizer)
        _REAL[0]._left = 1 << 40
    return _REAL[0]


@pytest.mark.real
def test_much_text_is_read_by_the_library(monkeypatch):
    monkeypatch.setattr(tokens, "_FEW", 50)
    tokenizer = Model.load().tokenizer
    few = tokenizer.encode(["The bank raised its rates."])
    assert "backend" not in vars(tokenizer)
    assert tokenizer.encode(["The bank raised its rates."] * 2) == few * 2
    assert "backend" in vars(tokenizer)
    assert [tokenizer.spelling(token) for token in few[0]] == [b"<bos>", b"The", b" bank", b" raised", b" its", b" rates", b"."]
