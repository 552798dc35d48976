import gzip
import json
from collections import Counter

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hooke.errors import BadConfig, BadFile, Missing, UnknownName
from hooke.evals.labelled import Labelled, read_labelled


def pairs(**counts: int) -> list[tuple[str, list[str]]]:
    return [(f"{label} {i}", [label]) for label, n in counts.items() for i in range(n)]


def write(path, records):
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)(data)
    path.write_bytes(packed)
    return path


def records(**counts: int):
    return [{"title": f"T{i}", "text": text, "kind": labels[0]} for i, (text, labels) in enumerate(pairs(**counts))]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "noending"])
def test_records_with_a_title_and_a_label(tmp_path, name):
    found = read_labelled(write(tmp_path / name, records(sport=20, finance=25)), "kind")
    assert (found.classes, found.counts) == (("finance", "sport"), {"finance": 25, "sport": 20})
    assert found.texts[0] == "T0\nsport 0"
    assert found.labels[0] == {"sport"}
    assert found.name == f"{name} (kind)"


def test_csv_with_columns(tmp_path):
    rows = "\n".join(f'{i},"about {label}, at length",{label}' for label in ("a", "b") for i in range(20))
    (tmp_path / "x.csv").write_text(f"id,headline,kind\n{rows}\n")
    found = read_labelled(tmp_path / "x.csv", "kind", text="headline")
    assert found.counts == {"a": 20, "b": 20}
    assert found.texts[0] == "about a, at length"


def test_labels_may_be_lists_numbers_and_truths(tmp_path):
    values = [["x", "y"], ["y"], 3, True, [], None, ""] * 20
    path = write(tmp_path / "x.jsonl", [{"text": "t", "kind": value} for value in values])
    found = read_labelled(path, "kind")
    assert found.counts == {"3": 20, "True": 20, "x": 20, "y": 40}
    assert (len(found), found.unlabelled) == (80, 60)


def test_classes_with_too_few_documents_are_left_out_with_them():
    found = Labelled.of([*pairs(a=30, b=20, c=19), ("both", ["a", "c"])], "x")
    assert found.left_out == {}  # c has 20 with the last
    found = Labelled.of([*pairs(a=30, b=20, c=18), ("both", ["a", "c"])], "x")
    assert found.left_out == {"c": 19}
    assert found.counts == {"a": 31, "b": 20}
    assert len(found) == 51


def test_a_class_needs_others_to_be_told_from():
    everywhere = [(text, [*labels, "all"]) for text, labels in pairs(a=30, b=30)]
    assert Labelled.of(everywhere, "x").left_out == {"all": 60}


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (pairs(sport=812), r"found 'sport' \(812\), of 812 documents. Each class needs at least 20 .* Name another field with --labels"),
        (pairs(a=100, b=5), r"found 'a' \(100\), 'b' \(5\), of 105 documents"),
        ([("t", [])] * 7, r"found no label on any of 7 documents"),
        (pairs(**{f"c{i}": 2 for i in range(30)}), r"and 22 more, of 60 documents"),
    ],
)
def test_fewer_than_two_classes(documents, said):
    with pytest.raises(BadConfig, match=said):
        Labelled.of(documents, "news.jsonl (kind)")


@given(st.integers(0, 5), st.lists(st.integers(20, 45), min_size=2, max_size=5))
def test_a_third_of_each_class_is_for_testing(seed, sizes):
    found = Labelled.of(pairs(**{f"c{i}": n for i, n in enumerate(sizes)}), "x")
    train, test = found.split(seed)
    assert sorted([*train, *test]) == list(range(len(found)))
    tests = Counter(label for i in test for label in found.labels[i])
    assert all(abs(tests[label] - n / 3) < 1 for label, n in found.counts.items()) or len(set(sizes)) < len(sizes)
    assert np.array_equal(test, found.split(seed)[1])


def test_another_seed_splits_otherwise():
    found = Labelled.of(pairs(a=30, b=30), "x")
    assert not np.array_equal(found.split(0)[1], found.split(1)[1])


def test_a_sample_is_drawn_evenly_and_again_the_same(tmp_path):
    path = write(tmp_path / "x.jsonl", records(a=300, b=300))
    seen = Counter()
    for seed in range(40):
        found = read_labelled(path, "kind", documents=100, seed=seed)
        assert len(found) == 100
        seen.update(i // 100 for i in (int(text.split("\n")[0][1:]) for text in found.texts))
    assert read_labelled(path, "kind", documents=100, seed=39).texts == found.texts
    assert all(abs(seen[i] - 4000 / 6) < 100 for i in range(6))  # four standard deviations


def test_blank_texts_are_left_out(tmp_path):
    path = write(tmp_path / "x.jsonl", [*records(a=20, b=20), {"text": "  ", "kind": "a"}])
    assert len(read_labelled(path, "kind")) == 40


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("x.jsonl", b'{"text": "t", "topic": "a"}\n', UnknownName, r"unknown field 'kind'. Known: text, topic. That is line 1 of"),
        ("x.jsonl", b'{"kind": "a"}\n', UnknownName, r"unknown field 'text'"),
        ("x.jsonl", b'{"text": 5, "kind": "a"}\n', BadFile, r"the field 'text' .* must be text, not int"),
        ("x.jsonl", b'{"text": "t", "kind": {"a": 1}}\n', BadFile, r"line 1 of .*: the field 'kind' holds no label"),
        ("x.jsonl", b'{"text": "\\ud800", "kind": "a"}\n', BadFile, r"line 1 of .* half of a surrogate pair"),
        ("x.jsonl", b"\n[1]\n", BadFile, r"line 2 of .* is not an object"),
        ("x.jsonl", b"{", BadFile, r"line 1 of .* is not JSON"),
        ("x.jsonl", b"\xff\xfe", BadFile, r"is UTF-16"),
        ("x.csv", b"text,kind\nonly one\n", BadFile, r"line 2 of .* another number of cells"),
        ("x.csv", b'text,kind\n"never closed', BadFile, r"is not CSV"),
        ("x.jsonl.zst", zstandard.ZstdCompressor().compress(b"{}" * 9999)[:-4], BadFile, r"is damaged: .* after line 0"),
    ],
)
def test_bad_files(tmp_path, name, content, error, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        read_labelled(tmp_path / name, "kind")


def test_no_file_and_no_documents(tmp_path):
    with pytest.raises(Missing, match="there is no file of labelled documents"):
        read_labelled(tmp_path / "none.jsonl", "kind")
    with pytest.raises(BadConfig, match="documents=0"):
        read_labelled(write(tmp_path / "x.jsonl", []), "kind", documents=0)
