"""What a corpus reference stands for: files of every kind, folders, globs, addresses; the same documents from each, and clear refusals."""

import csv
import gzip
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.errors import BadConfig, BadFile, HookeError, LimitReached, Missing, UnknownName
from hooke.text.corpus import Corpus, documents, parse_corpora, parse_corpus
from hooke.text.datafiles import DataFile, _paragraphs, documents_in, kind_of
from hooke.text.intake import TextSource
from hooke.text.sources import files_of

RECORDS = [("one", ""), ('two "quoted", and\na second line', "A title"), ("drei ä 🎈", "B"), ("", ""), ("five", "C")]
TEXTS = [f"{title}\n{text}" if title else text for text, title in RECORDS]


def jsonl(records: list[tuple[str, str]]) -> bytes:
    return "".join(json.dumps({"text": text, "title": title, "n": 1}) + "\n" for text, title in records).encode()


def table(records: list[tuple[str, str]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([("n", "title", "text"), *((1, title, text) for text, title in records)])
    return out.getvalue().encode()


def parquet(records: list[tuple[str, str]], rows: int = 2) -> bytes:
    out = io.BytesIO()
    columns = {"n": [1] * len(records), "text": [text for text, _ in records], "title": [title or None for _, title in records]}
    pq.write_table(pa.table(columns), out, row_group_size=rows)
    return out.getvalue()


def plain(data: bytes) -> bytes:
    return data


MAKE: dict[str, Callable[[list[tuple[str, str]]], bytes]] = {
    ".jsonl": jsonl,
    ".ndjson": jsonl,
    ".csv": table,
    ".tsv": lambda records: table(records, "\t"),
    ".parquet": parquet,
    "": jsonl,
}
PACK = {"": plain, ".gz": gzip.compress, ".zst": zstandard.compress}
KINDS = [(kind, packing) for kind in MAKE for packing in PACK if not (kind == ".parquet" and packing)]


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def said(call: Callable[[], object], kind: type[HookeError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


# kinds of file


@pytest.mark.parametrize(("kind", "packing"), KINDS)
def test_every_kind_of_file_gives_the_same_documents(kind: str, packing: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x{kind}{packing}", PACK[packing](MAKE[kind](RECORDS)))
    assert list(documents(path)) == TEXTS
    assert list(documents(path, "title")) == [title for _, title in RECORDS]
    assert list(documents(path, "text")) == [text for text, _ in RECORDS]  # a field that is named stands alone


@pytest.mark.parametrize(("kind", "packing"), KINDS)
def test_a_field_that_is_not_there_is_told_with_those_that_are(kind: str, packing: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x{kind}{packing}", PACK[packing](MAKE[kind](RECORDS)))
    told = said(lambda: list(documents(path, "txet")), UnknownName)
    assert "Did you mean 'text'? Known: n, text, title." in told
    assert str(path) in told


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\ntwo", ["one", "two"]),
        ("one\ntwo\n\n", ["one", "two"]),
        ("\n\none\ntwo\n", ["one", "two"]),
        ("one\nline\n\ntwo\n", ["one\nline", "two"]),
        ("one\nline\n \n\n\n  two\n\n", ["one\nline", "  two"]),
        ("", []),
        ("\n\n", []),
        ("word\n" * 20_000 + "\nlast\n", ["word"] * 20_000 + ["last"]),
        ("word " * 20_000 + "\n\nlast\n", ["word " * 20_000, "last"]),
    ],
)
def test_plain_text_is_paragraphs_or_lines(packing: str, content: str, expected: list[str], tmp_path: Path) -> None:
    assert list(documents(write(tmp_path / f"x.txt{packing}", PACK[packing](content.encode())))) == expected


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=5), min_size=1), min_size=2)
)
def test_paragraphs_come_back(paragraphs: list[list[str]]) -> None:
    wanted = ["\n".join(f"x{line}" for line in lines) for lines in paragraphs]
    file = DataFile("x.txt", lambda: io.BytesIO("\n\n".join(wanted).encode()))
    assert list(documents_in(file)) == wanted


def test_blank_lines_are_each_looked_at_a_few_times() -> None:
    """And not again with every further line: a few packed kilobytes hold millions of them."""
    looked = 0

    class Line(str):
        def strip(self, chars: str | None = None) -> str:
            nonlocal looked
            looked += 1
            return str.strip(self, chars)

    source = TextSource("blank.txt", io.BytesIO(), "lines", None, None)
    for text in ([], ["some"]):
        looked, lines = 0, [*text, *["\n"] * 5000]
        assert list(_paragraphs(source, ((number, Line(line)) for number, line in enumerate(lines)))) == text
        assert looked < 4 * len(lines)


def test_plain_text_has_no_fields(tmp_path: Path) -> None:
    assert "is plain text, which has no fields" in said(lambda: list(documents(write(tmp_path / "x.txt", b"a"), "text")), BadFile)


@pytest.mark.parametrize("name", ["x.json", "x.md", "x.parquet.gz", "x.bin.zst"])
def test_a_kind_that_is_not_read_is_refused(name: str, tmp_path: Path) -> None:
    assert "is of no kind that is read" in said(lambda: list(documents(write(tmp_path / name, b"{}"))), BadFile)
    assert kind_of(name) is None


def test_documents_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """What stands behind is not touched: it is damaged here."""
    path = write(tmp_path / "x.jsonl.gz", gzip.compress(jsonl(RECORDS[:2])) + b"damage")
    read = documents(path)
    assert [next(read), next(read)] == TEXTS[:2]
    assert "is damaged" in said(lambda: next(read), BadFile)


# Parquet


def test_parquet_holds_one_row_group_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", parquet([(f"text {i} " * 5000, "") for i in range(200)], rows=10))
    before = pa.total_allocated_bytes()
    read = documents(path)
    most = 0
    for number, text in enumerate(read):
        assert text.startswith(f"text {number} ")
        most = max(most, pa.total_allocated_bytes() - before)
    assert number == 199
    assert 0 < most < 200 * 45_000 / 3


def test_parquet_of_other_text_types(tmp_path: Path) -> None:
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        out = io.BytesIO()
        pq.write_table(pa.table({"text": pa.array(["a", None, "a"]).cast(kind)}), out)
        assert list(documents(write(tmp_path / "x.parquet", out.getvalue()))) == ["a", "", "a"]


def test_parquet_that_is_damaged_too_large_or_without_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = parquet(RECORDS)
    for content in (b"", b"PAR1", whole[:-9], b"x" * 99):
        broken = write(tmp_path / "x.parquet", content)
        assert "is damaged or not a Parquet file" in said(lambda broken=broken: list(documents(broken)), BadFile)
    path = write(tmp_path / "y.parquet", whole)
    assert "column 'n' of" in (told := said(lambda: list(documents(path, "n")), BadFile))
    assert "holds int64, not text. Columns of text: text, title." in told
    monkeypatch.setattr("hooke.text.parquet._LARGEST_GROUP", 10)
    assert "row group 0 of" in said(lambda: list(documents(path)), LimitReached)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = write(tmp_path / "x.parquet", b"")
    assert "pip install 'hooke[parquet]'" in said(lambda: list(documents(path)), Missing)


# folders, globs, addresses


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    for name, text in (("b/2.jsonl", "three"), ("a.jsonl.gz", "one"), ("b/1.jsonl", "two"), (".hidden/x.jsonl", "no"), ("README.md", "no")):
        write(tmp_path / "f" / name, PACK[".gz" if name.endswith("gz") else ""](jsonl([(text, "")])))
    assert list(documents(tmp_path / "f")) == ["one", "two", "three"]
    assert list(documents(str(tmp_path / "f" / "**" / "*.jsonl"))) == ["two", "three"]
    assert [Path(file.name).name for file in files_of(str(tmp_path / "f" / "b" / "?.jsonl"))] == ["1.jsonl", "2.jsonl"]


def test_a_folder_of_several_kinds_or_of_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "f" / "a.jsonl", b"")
    write(tmp_path / "f" / "b.txt", b"")
    told = said(lambda: list(documents(tmp_path / "f")), BadFile)
    assert "several kinds: JSON Lines (1, such as a.jsonl), plain text (1, such as b.txt)" in told
    write(tmp_path / "g" / "a.bin", b"")
    assert "there is only a.bin" in said(lambda: list(documents(tmp_path / "g")), Missing)
    (tmp_path / "h").mkdir()
    assert "there is nothing" in said(lambda: list(documents(tmp_path / "h")), Missing)
    assert said(lambda: list(documents(tmp_path / "none.jsonl")), Missing) == f"no corpus at {tmp_path / 'none.jsonl'}."


def test_an_address_is_read_as_a_file_would_be() -> None:
    store = fsspec.filesystem("memory")
    try:
        for kind, packing in KINDS:
            store.pipe(f"/hooke/one{kind}{packing}", PACK[packing](MAKE[kind](RECORDS)))
            assert list(documents(f"memory://hooke/one{kind}{packing}")) == TEXTS
        store.pipe({"/hooke/many/2.jsonl": jsonl([("two", "")]), "/hooke/many/1.jsonl": jsonl([("one", "")]), "/hooke/many/.x": b""})
        assert list(documents("memory://hooke/many")) == ["one", "two"]
        assert list(documents("memory://hooke/many/*.jsonl")) == ["one", "two"]
        assert parse_corpus("memory://hooke/many/1.jsonl=2") == Corpus("1", "memory://hooke/many/1.jsonl", 2.0)
        assert "there is nothing at 'memory://hooke/none.jsonl'" in said(lambda: list(documents("memory://hooke/none.jsonl")), Missing)
        store.pipe("/hooke/bad.jsonl", b"{")
        assert "line 1 of 'memory:///hooke/bad.jsonl'" in said(lambda: list(documents("memory://hooke/bad.jsonl")), BadFile)
    finally:
        store.rm("/hooke", recursive=True)


def test_an_address_without_its_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    told = said(lambda: list(documents("s3://bucket/x.jsonl")), Missing)
    assert "s3:// needs the package s3fs. pip install 'hooke[s3]'" in told
    assert "nope" in said(lambda: list(documents("nope://bucket/x.jsonl")), UnknownName)


# references as typed


@pytest.mark.parametrize(
    ("typed", "name", "weight"),
    [
        ("news.jsonl.zst", "news", 1.0),
        ("news.jsonl.zst=2", "news", 2.0),
        ("news.jsonl.zst=.5", "news", 0.5),
        ("news.jsonl.zst=1e3", "news", 1000.0),
        ("a=3/v1.2.jsonl", "v1.2", 1.0),
        ("a=3/v1.2.jsonl=4", "v1.2", 4.0),
        ("odd.jsonl=7", "odd.jsonl=7", 1.0),  # there is a file of that name
        ("a=3", "a=3", 1.0),
        ("a=3=2", "a=3", 2.0),
        ("*.zst=2", "*.zst", 2.0),
    ],
)
def test_a_reference_and_its_weight(typed: str, name: str, weight: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("news.jsonl.zst", "a=3/v1.2.jsonl", "odd.jsonl=7"):
        write(tmp_path / file, b"")
    found = parse_corpus(typed, field="body")
    assert (found.name, found.weight, found.field) == (name, weight, "body")
    assert isinstance(found.path, Path) == ("*" not in typed)


@pytest.mark.parametrize(
    ("typed", "path", "name"),
    [
        ("org/name", "hf://datasets/org/name", "org/name"),
        ("org/name@v1", "hf://datasets/org/name@v1", "org/name@v1"),
        ("org/name=3", "hf://datasets/org/name", "org/name"),
        ("hf://datasets/org/name@refs/convert/parquet/en=3", "hf://datasets/org/name@refs/convert/parquet/en", None),
        ("s3://bucket/lang=en/x.jsonl", "s3://bucket/lang=en/x.jsonl", "x"),
        ("s3://bucket/year=2024=1", "s3://bucket/year=2024", "year=2024"),
    ],
)
def test_what_is_not_here_is_a_dataset_or_an_address(
    typed: str, path: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = parse_corpus(typed)
    assert found.path == path
    assert found.name == name or name is None


def test_a_local_name_comes_before_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "org" / "name" / "x.jsonl", jsonl(RECORDS))
    found = parse_corpus("org/name")
    assert found == Corpus("name", Path("org/name"))
    assert list(documents(found.path)) == TEXTS


@pytest.mark.parametrize(
    ("typed", "kind", "part"),
    [
        ("none.jsonl", Missing, "there is no file or folder 'none.jsonl'"),
        ("data/none.jsonl", Missing, "there is no file or folder 'data/none.jsonl'"),
        ("./org/name", Missing, "there is no file or folder"),
        ("", Missing, "there is no file or folder ''"),
        ("none", Missing, "or a dataset on the hub: org/name"),
        ("folder/none", Missing, "If a dataset on the hub is meant, write hf://datasets/folder/none"),
        ("*.jsonl", Missing, "no file here matches '*.jsonl'"),
        ("here.txt=x", BadConfig, "'x', in 'here.txt=x', is no weight"),
        ("here.txt=0", BadConfig, "the weight of 'here.txt' is 0; a weight is a positive number"),
        ("here.txt=-1", BadConfig, "is -1;"),
        ("here.txt=nan", BadConfig, "is nan;"),
        ("here.txt=inf", BadConfig, "is inf;"),
    ],
)
def test_a_reference_that_cannot_be(typed: str, kind: type[HookeError], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "here.txt", b"")
    (tmp_path / "folder").mkdir()
    assert part in said(lambda: parse_corpus(typed), kind)


def test_corpora_of_the_same_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/train.jsonl", "b/train.jsonl", "c.jsonl"):
        write(tmp_path / name, b"")
    assert [own.name for own in parse_corpora(["a/train.jsonl", "b/train.jsonl=2", "c.jsonl"])] == ["a/train.jsonl", "b/train.jsonl", "c"]
    assert "more than once" in said(lambda: parse_corpora(["c.jsonl", "c.jsonl=2"]), BadConfig)


def test_nothing_heavy_is_loaded_for_a_plain_file() -> None:
    import subprocess

    code = "import sys, hooke.text.corpus as c; print(sorted({'pyarrow', 'fsspec', 'huggingface_hub', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.sub(r"\s", "", done.stdout) == "[]"
