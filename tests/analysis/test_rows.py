"""An analysis as a flat table: a row for each text and feature, what came with the texts in front, the same by every way out."""

import builtins
import csv
import json
from dataclasses import replace

import pytest
from pyarrow import parquet

from hooke.analysis import Analysis, Options, Reader, conclude
from hooke.analysis.rows import COLUMNS, columns, write_csv, write_parquet
from hooke.errors import Missing
from hooke.text.intake import Record

TEXTS = [
    Record.of("bank and judge", {"id": 17, "desk": "=News", "topic": "mine", "tags": ["a"], "score": 1.5, "big": 2**70}),
    Record.of(" ", {"id": 18, "desk": None, "topic": 7, "tags": {"b": 1}, "score": None, "big": 1}),
    "the old choir",
]


@pytest.fixture
def found(model, known) -> Analysis:
    reader = Reader(model, known[:1], Options())
    return conclude(reader, list(reader.read(TEXTS)))


def test_fields_come_back_with_their_text(found):
    assert [text.fields for text in found.texts] == [TEXTS[0].fields, TEXTS[1].fields, {}]
    assert all(type(text.text) is str for text in found.texts)
    assert json.loads(json.dumps(found.to_json()))["texts"][0]["fields"]["desk"] == "=News"


def test_there_is_a_row_for_each_text_and_feature(found):
    table = columns(found)
    wanted = [
        (number, hit.feature, hit.activation, hit.token)
        for number, text in enumerate(found.texts)
        for hit in {hit.feature: hit for hit in (*text.about, *text.words, *text.features)}.values()
    ]
    pairs = list(zip(table["text_index"], table["feature"], table["activation"], table["token"], strict=True))
    assert [pair for pair in pairs if pair[1] is not None] == wanted
    assert [pair for pair in pairs if pair[1] is None] == [(1, None, None, None)]  # a text without features keeps a row
    assert set(zip(table["text_index"], table["text"], table["topic"], strict=True)) == {
        (number, text.text, text.topic) for number, text in enumerate(found.texts)
    }


def test_what_came_with_the_texts_stands_in_front_of_one_kind(found):
    table = columns(found)
    assert list(table)[:6] == ["id", "desk", "input_topic", "tags", "score", "big"]
    assert list(table)[6:] == list(COLUMNS)
    first = {name: values[0] for name, values in table.items()}
    assert (first["id"], first["desk"], first["input_topic"], first["tags"], first["score"]) == (17, "=News", "mine", '["a"]', 1.5)
    assert first["big"] == str(2**70)
    assert table["input_topic"][table["id"].index(18)] == "7"
    assert {len(values) for values in table.values()} == {len(table["text"])}


def test_files_and_frames_hold_the_same(found, tmp_path):
    table = columns(found)
    write_csv(found, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == list(table)
    assert rows == [["" if value is None else str(value) for value in row] for row in zip(*table.values(), strict=True)]
    write_parquet(found, tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").to_pydict() == table
    assert found.to_polars().to_dict(as_series=False) == table
    frame = found.to_pandas()
    assert list(frame.columns) == list(table)
    assert frame.astype(object).where(frame.notna(), None).to_dict("list") == table


def test_an_empty_analysis_is_an_empty_table(found, tmp_path):
    empty = replace(found, texts=[])
    assert found.to_pandas().dtypes["pos"] == empty.to_pandas().dtypes["pos"]
    assert len(empty.to_pandas()) == len(empty.to_polars()) == 0
    write_parquet(empty, tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").column_names == list(COLUMNS)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_that_is_not_there_is_named(found, library, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == library:
            raise ImportError
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Missing, match=f"needs {library}: pip install {library}"):
        getattr(found, f"to_{library}")()


def test_an_analysis_says_what_it_is(found, known):
    topics = ", ".join(f"{topic.topic} {len(topic.texts)}" for topic in found.topics)
    assert repr(found) == f"Analysis(3 texts, tiny through {known[0].name}: {topics})"
    assert repr(found.texts[2]).startswith("TextResult('the old choir', topic 'music', ")
