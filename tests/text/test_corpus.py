"""Windows of a mix: every token once, in its share, the same for the same seed; a damaged line is named."""

import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard

from hooke import tiny
from hooke.errors import BadConfig, BadFile, Missing, UnknownName
from hooke.text import corpus as corpus_module
from hooke.text.corpus import Corpus, Window, documents, is_held_out, windows
from hooke.text.tokens import Tokenizer

WORDS = [word for group in tiny.concepts.values() for word in group]
TOKENIZER = tiny.model().tokenizer


def write(path: Path, texts: list[str], **more: str) -> Path:
    content = "".join(json.dumps({"text": text, **more}) + "\n" for text in texts).encode()
    path.write_bytes(zstandard.compress(content) if path.suffix == ".zst" else content)
    return path


def texts_of(number: int, words: int, first: int = 0) -> list[str]:
    """Texts that all differ, of `words` tokens and more."""
    return [" ".join([WORDS[(first + i) % 64], *[WORDS[(i * 7 + j) % 64] for j in range(words - 1)]]) for i in range(number)]


@pytest.fixture
def mix(tmp_path: Path) -> list[Corpus]:
    return [
        Corpus("long", write(tmp_path / "long.jsonl", texts_of(60, 90)), weight=3.0),
        Corpus("short", write(tmp_path / "short.jsonl.zst", texts_of(700, 6)), weight=1.0),
    ]


def every(mix: list[Corpus], **options: object) -> list[Window]:
    return list(windows(mix, TOKENIZER, **{"length": 16, "seed": 0} | options))


def test_documents_are_read_in_order_with_their_titles(tmp_path: Path) -> None:
    texts = ["one", "two\u2028and a half", "drei \u00e4"]
    for name in ("x.jsonl", "x.jsonl.zst"):
        assert list(documents(write(tmp_path / name, texts))) == texts
        assert list(documents(write(tmp_path / name, texts, title="T"))) == [f"T\n{text}" for text in texts]
        assert list(documents(write(tmp_path / name, texts, title=""))) == texts
        assert list(documents(write(tmp_path / name, []))) == []


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b"5", b"{}", b'{"text": 5}', b'{"text": "a", "title": 5}', b'{"text": "\xff"}', b"[" * 99_999]
)
@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.zst"])
def test_a_damaged_line_is_named(line: bytes, name: str, tmp_path: Path) -> None:
    content = b'{"text": "fine"}\n' * 2 + line + b"\n" + b'{"text": "fine"}\n'
    (tmp_path / name).write_bytes(zstandard.compress(content) if name.endswith(".zst") else content)
    read = documents(tmp_path / name)
    assert list(itertools.islice(read, 2)) == ["fine", "fine"]
    with pytest.raises((BadFile, UnknownName)) as caught:
        next(read)
    assert "line 3" in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_an_archive_that_is_damaged_or_none_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zst", texts_of(3000, 9))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadFile, match=str(path)):
        list(documents(path))
    path.write_bytes(b"no archive at all")
    with pytest.raises(BadFile, match=r"ends in \.zst but its first bytes are not of that format"):
        list(documents(path))
    with pytest.raises(Missing, match="no corpus at "):
        list(documents(tmp_path / "none.jsonl"))


def test_every_window_begins_with_bos_and_is_never_longer_than_asked(mix: list[Corpus]) -> None:
    for window in every(mix):
        assert window.ids[0] == TOKENIZER.bos
        assert 2 <= len(window.ids) <= 16
        assert not TOKENIZER.special & set(window.ids[1:])


def test_the_windows_of_a_document_are_its_tokens_once_each(mix: list[Corpus]) -> None:
    found: dict[tuple[str, int], list[Window]] = {}
    for window in every(mix):
        found.setdefault((window.corpus, window.doc), []).append(window)
    for corpus in mix:
        for number, text in enumerate(documents(corpus.path)):
            if is_held_out(number, 50):
                assert (corpus.name, number) not in found
                continue
            body = TOKENIZER.encode([text])[0][1:]
            expected = [[2, *body[at : at + 15]] for at in range(0, len(body), 15)]
            assert sorted(window.ids for window in found[corpus.name, number]) == sorted(expected)


def test_without_bos_windows_are_full_of_text(mix: list[Corpus]) -> None:
    plain = Tokenizer(tiny.model().tokenizer.backend, bos=None)
    total = sum(len(window.ids) for window in windows(mix, plain, length=16, seed=0))
    assert total == sum(len(window.ids) - 1 for window in every(mix))


@pytest.mark.parametrize("weights", [(3.0, 1.0), (1.0, 1.0), (1.0, 4.0), (300.0, 100.0)])
def test_each_corpus_gives_its_share_of_the_tokens_at_every_point(mix: list[Corpus], weights: tuple[float, float]) -> None:
    mix = [Corpus(corpus.name, corpus.path, weight) for corpus, weight in zip(mix, weights, strict=True)]
    given: Counter[str] = Counter()
    for count, window in enumerate(windows(mix, TOKENIZER, length=16, seed=0)):
        given[window.corpus] += len(window.ids)
        if count == 150:  # neither has run out
            break
        for corpus, weight in zip(mix, weights, strict=True):
            share = sum(given.values()) * weight / sum(weights)
            assert abs(given[corpus.name] - share) <= 16 * max(weights) / min(weights)
    total = sum(given.values())
    assert all(abs(given[corpus.name] / total - corpus.weight / sum(weights)) < 0.03 for corpus in mix)


def test_the_same_seed_gives_the_same_windows_and_another_another(mix: list[Corpus]) -> None:
    assert every(mix, seed=1) == every(mix, seed=1)
    assert every(mix, seed=1) != every(mix, seed=2)
    one, other = (sorted((w.corpus, w.doc, w.ids) for w in every(mix, seed=seed)) for seed in (1, 2))
    assert one == other


@pytest.mark.parametrize("one_in", [2, 50])
def test_held_out_documents_are_the_others(mix: list[Corpus], one_in: int) -> None:
    kept = {(window.corpus, window.doc) for window in every(mix, one_in=one_in)}
    held = {(window.corpus, window.doc) for window in every(mix, one_in=one_in, held_out=True)}
    assert not kept & held
    assert len(kept | held) == 760
    assert len(held) == 60 // one_in + 700 // one_in
    assert all(is_held_out(doc, one_in) for _, doc in held)


def test_epochs_repeat_every_corpus_and_shuffle_it_anew(mix: list[Corpus]) -> None:
    once, twice = every(mix[:1]), every(mix[:1], epochs=2)
    assert sorted(window.ids for window in twice) == sorted(window.ids for window in [*once, *once])
    assert twice[: len(once)] == once
    assert twice[len(once) :] != once


def test_no_document_fills_a_stretch_of_the_stream(tmp_path: Path) -> None:
    books = Corpus("books", write(tmp_path / "books.jsonl", texts_of(30, 300)))
    docs = [window.doc for window in every([books])]
    assert max(len(list(run)) for _, run in itertools.groupby(docs)) <= 4


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_mix_that_cannot_be_is_refused(mix: list[Corpus], weight: float) -> None:
    with pytest.raises(BadConfig, match="every weight must be positive"):
        every([mix[0], Corpus("odd", mix[1].path, weight)])
    with pytest.raises(BadConfig, match="at least one corpus"):
        every([])


@pytest.mark.parametrize("length", [1, 0, -5])
def test_a_window_without_room_is_refused(mix: list[Corpus], length: int) -> None:
    with pytest.raises(BadConfig, match="has no room for a token"):
        every(mix, length=length)


# large corpora


def test_windows_of_a_small_corpus_are_what_they_always_were(mix: list[Corpus]) -> None:
    """Shuffled whole, as a naive twin does it: a seed keeps its meaning."""
    order = random.Random(random.Random(3).randrange(1 << 30))
    texts = [(number, text) for number, text in enumerate(documents(mix[1].path)) if not is_held_out(number, 50)]
    expected = []
    for _ in range(2):
        order.shuffle(texts)
        for start in range(0, len(texts), 32):
            cut = []
            for number, text in texts[start : start + 32]:
                body = TOKENIZER.encode([text])[0][1:]
                cut += [Window("short", number, [2, *body[at : at + 15]], start=at) for at in range(0, len(body), 15)]
            order.shuffle(cut)
            expected += cut
    assert every([mix[1]], seed=3, epochs=2) == expected


@pytest.mark.parametrize("pack", [False, True])
def test_a_corpus_of_many_blocks_gives_every_document_and_stays_small(pack: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Corpus("whole", write(tmp_path / "whole.jsonl", texts_of(700, 6)))
    plain = every([whole])
    monkeypatch.setattr("hooke.text.corpus._BLOCK", 10_000)
    reading = corpus_module._Reading(whole, 1, False, 50, 1)
    assert max(sum(len(text) + 64 for _, text in block) for block in reading._blocks()) < 10_200
    cut = every([whole], epochs=2, pack=pack)
    assert cut == every([whole], epochs=2, pack=pack)
    if not pack:
        assert cut[: len(plain)] != plain
        assert sorted((w.doc, w.ids) for w in cut) == sorted((w.doc, w.ids) for w in plain + plain)
    # The shuffle stays within its stretch of the corpus: documents come back near where they stood.
    assert all(abs(window.doc - 700 * at / (len(cut) / 2)) < 250 for at, window in enumerate(cut[: len(cut) // 2]))


# packing


@pytest.mark.parametrize("bos", [2, None])
@pytest.mark.parametrize("eos", [1, None])
@pytest.mark.parametrize("length", [2, 7, 16, 200])
def test_packed_windows_are_full_and_know_their_documents(length: int, eos: int | None, bos: int | None, mix: list[Corpus]) -> None:
    tokenizer = Tokenizer(tiny.model().tokenizer.backend, bos=bos, eos=eos)
    for corpus in mix:
        texts = dict(enumerate(documents(corpus.path)))
        bodies = {number: ids[bos is not None :] for number, ids in enumerate(tokenizer.encode(list(texts.values())))}
        found: dict[int, list[int]] = {}
        windows_ = list(windows([corpus], tokenizer, length=length, seed=0, pack=True))
        for window in windows_:
            assert len(window.ids) == length
            assert bos is None or window.ids[0] == bos
            assert window.docs[0] == (0, window.doc) == (0, window.doc_at(0))
            assert [at for at, _ in window.docs] == sorted({at for at, _ in window.docs})
            for pos in range(bos is not None, length):
                found.setdefault(window.doc_at(pos), []).append(window.ids[pos])
        total = sum(len(body) + (eos is not None) for number, body in bodies.items() if not is_held_out(number, 50))
        assert 0 <= total - sum(map(len, found.values())) < length  # only what does not fill a window is left out
        for number, ids in found.items():
            wanted = bodies[number] + ([] if eos is None else [eos])
            assert not is_held_out(number, 50)
            assert not Counter(ids) - Counter(wanted)


def test_packed_windows_follow_each_other_and_single_ones_know_their_document(tmp_path: Path) -> None:
    corpus = Corpus("one", write(tmp_path / "one.jsonl", ["the storm hit the bank", "rain", "", "judge and jury"]))
    tokenizer = Tokenizer(tiny.model().tokenizer.backend, bos=2, eos=1)
    packed = list(windows([corpus], tokenizer, length=4, seed=0, pack=True))
    stream = {window.doc: window for window in packed}
    assert all(window.doc_at(len(window.ids) - 1) == window.docs[-1][1] for window in packed)
    assert 2 not in stream  # a document without text has no place
    assert Window("x", 7, [2, 5]).doc_at(1) == 7
    assert Window("x", 7, [2, 5, 1, 6], ((0, 7), (3, 9))).doc_at(2) == 7
    assert Window("x", 7, [2, 5, 1, 6], ((0, 7), (3, 9))).doc_at(3) == 9


# nothing to give


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        ([], {}, "the corpus 'x' is empty"),
        (["", " " * 0], {}, "is blank: none of its 2 documents has any text"),
        (["rain"], {"one_in": 1}, "too few documents, 1: with one in 1 held out, all are held out"),
        (["rain"] * 9, {"held_out": True}, "too few documents, 9: with one in 50 held out, none is held out"),
        (["rain"], {"pack": True}, "has only 1 tokens, too few for one packed window"),
    ],
)
def test_a_corpus_with_nothing_to_give_says_why(
    texts: list[str], options: dict[str, Any], said: str, tmp_path: Path, mix: list[Corpus]
) -> None:
    corpus = Corpus("x", write(tmp_path / "x.jsonl", texts))
    with pytest.raises(BadFile, match=re.escape(said)):
        every([corpus], **options)
    if "held_out" in options:  # beside others that have something held out it may have nothing
        assert {window.corpus for window in every([corpus, *mix], **options)} == {"long", "short"}
