"""Reading texts: every form, packed and not, streamed; and what is said about bad input."""

import csv
import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hooke.errors import BadConfig, BadFile, HookeError, LimitReached, Missing, UnknownName
from hooke.text import intake
from hooke.text.arguments import text_from, texts_from
from hooke.text.datafiles import DataFile, documents_in
from hooke.text.intake import Form, read_texts

HEADLINES = ["Rates held as inflation cools", "Überraschung in München", "地震で列車が停止", "كأس العالم ينطلق اليوم"]
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)


def stream(data: bytes | str) -> io.BytesIO:
    return io.BytesIO(data.encode() if isinstance(data, str) else data)


def error(kind: type[HookeError], *args, **options) -> str:
    with pytest.raises(kind) as caught:
        list(read_texts(*args, **options))
    assert type(caught.value) is kind
    return str(caught.value)


def packed(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data)
    return zstandard.ZstdCompressor(write_checksum=True).compress(data) if suffix == ".zst" else data


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", [".txt", ".jsonl", ".csv", ".tsv", ""])
def test_every_form_packed_and_not(tmp_path: Path, form: str, suffix: str) -> None:
    out = io.StringIO()
    if form == ".jsonl":
        out.writelines(json.dumps({"id": i, "title": text}) + "\n" for i, text in enumerate(HEADLINES))
    elif form in (".csv", ".tsv"):
        writer = csv.writer(out, delimiter="\t" if form == ".tsv" else ",")
        writer.writerows([["id", "title"], *enumerate(HEADLINES)])
    else:
        out.writelines(text + "\n" for text in HEADLINES)
    path = tmp_path / f"in{form}{suffix}"
    path.write_bytes(packed(out.getvalue().encode(), suffix))
    named = {".jsonl": {"field": "title"}, ".csv": {"column": "title"}, ".tsv": {"column": "title"}}.get(form, {})
    assert list(read_texts(path, **named)) == HEADLINES
    assert list(read_texts(str(path), **named)) == HEADLINES


@given(st.lists(WORDS.filter(lambda t: not set(t) & set("\r\n")), min_size=1))
def test_lines_round_trip(texts: list[str]) -> None:
    texts[0] = texts[0].removeprefix("\ufeff") or "x"
    assert list(read_texts(stream("\n".join(texts)))) == [t for t in texts if t.strip()]


@given(st.lists(WORDS, min_size=1))
def test_jsonl_round_trip(texts: list[str]) -> None:
    objects = "".join(json.dumps({"body": t}) + "\r\n" for t in texts)
    assert list(read_texts(stream(objects), field="body")) == texts
    assert list(read_texts(stream("\n".join(map(json.dumps, texts))), form="jsonl")) == texts


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1))
def test_csv_round_trip_with_line_ends_and_quotes_in_cells(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("kind", "body"), *rows])
    assert list(read_texts(stream(out.getvalue()), column="body")) == [body for _, body in rows]


def test_blank_lines_line_ends_and_byte_order_mark() -> None:
    assert list(read_texts(stream(b"\xef\xbb\xbfone\r\n\r\n   \n\ttwo \nthree"))) == ["one", "\ttwo ", "three"]
    assert list(read_texts(stream(b'\xef\xbb\xbftext,n\r\none,1\r\n\r\n"",2\r\nthree,3\r\n'), form="csv")) == ["one", "three"]
    assert list(read_texts(stream("a\u2028b\x0bc\x85d"))) == ["a\u2028b\x0bc\x85d"]  # not line ends


def test_default_field_and_column() -> None:
    assert list(read_texts(stream('{"text": "one"}\n"two"'), form="jsonl")) == ["one", "two"]
    assert list(read_texts(stream("id,text\n1,one"), form="csv")) == ["one"]
    assert list(read_texts(stream("headline\none\ntwo"), form="csv")) == ["one", "two"]


def test_standard_input_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = stream(gzip.compress(b"one\ntwo\n"))

    monkeypatch.setattr("sys.stdin", Stdin)
    assert list(read_texts("-")) == ["one", "two"]
    assert not Stdin.buffer.closed


def test_arguments_are_texts_files_and_standard_input_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream("piped")}))
    path = tmp_path / "in.txt"
    path.write_text("filed\n")
    assert list(texts_from(["Given, as it is.", str(path), "-", "last"])) == ["Given, as it is.", "filed", "piped", "last"]
    assert list(texts_from(["x" * 5000 + "/\0"])) == ["x" * 5000 + "/\0"]  # nothing that could be a path
    for arguments, options, kind, said in [
        ([], {}, BadConfig, "no text was given"),
        (["", "  "], {}, BadFile, "the text that was given is empty"),
        (["-", "-"], {}, BadConfig, "it can be read once"),
        (["headlnies.txt"], {}, Missing, "there is no file 'headlnies.txt'"),
        (["headlines.csv.gz"], {}, Missing, "there is no file 'headlines.csv.gz'"),
        (["a text"], {"field": "title"}, Missing, "a file is expected"),
        (["headlines/"], {}, Missing, "there is no file 'headlines'"),
        (["https://example.com/news"], {}, Missing, "'https://example.com/news' is an address"),
    ]:
        with pytest.raises(kind, match=said):
            list(texts_from(arguments, **options))


def test_one_text_is_an_argument_or_all_that_a_file_holds(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("filed\n")
    two.write_text("filed\ntwice\n")
    assert (text_from("Given, as it is. "), text_from(str(one))) == ("Given, as it is. ", "filed")
    with pytest.raises(BadConfig, match=r"two\.txt' holds several texts, and one is read here"):
        text_from(str(two))


def test_only_what_is_asked_for_is_read() -> None:
    class Endless(io.RawIOBase):
        served = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            self.served += 1
            buffer[:8] = b"a line.\n"
            return 8

    source = Endless()
    assert list(islice(read_texts(io.BufferedReader(source)), 3)) == ["a line."] * 3
    assert source.served <= 4


def test_many_lines_into_head() -> None:
    feed = subprocess.Popen(
        [sys.executable, "-c", "for i in range(100_000): print('headline', i)"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert feed.stdout is not None
    assert next(read_texts(feed.stdout)) == "headline 0"
    feed.stdout.close()
    feed.wait()


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_memory_does_not_grow_with_the_source(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in.txt{suffix}"
    path.write_bytes(packed("".join(f"headline {i * i} and some words\n" for i in range(100_000)).encode(), suffix))
    tracemalloc.start()
    try:
        assert sum(1 for _ in islice(read_texts(path), 60_000)) == 60_000
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**20
    finally:
        tracemalloc.stop()


def test_a_line_of_one_megabyte_is_a_text_and_one_past_the_limit_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 2**20
    assert list(read_texts(stream(long))) == [long]
    assert list(read_texts(stream(json.dumps({"text": long})), form="jsonl")) == [long]
    assert list(read_texts(stream("text\n" + long), form="csv")) == [long]
    monkeypatch.setattr(intake, "MAX_LINE", 2**20)
    said = error(LimitReached, stream("short\n" + long + "x"))
    assert said == "line 2 of the stream is longer than 1 MiB, the most that one text may have. Split it into shorter lines."
    said = error(LimitReached, stream('text\n"' + ("never closed " * 10 + "\n") * 10_000), form="csv")
    assert said.endswith("a quote that is never closed may be why.")


def test_bad_bytes() -> None:
    assert error(BadFile, stream("")).startswith("the stream has no text in it.")
    assert error(BadFile, stream("\n \n")).startswith("the stream has no text in it.")
    assert error(BadFile, stream("text,n\n"), form="csv").startswith("the stream has no text in it.")
    said = error(BadFile, stream(b"fine\nELF\0\0"))
    assert said == "the stream is binary, not text: a NUL byte in line 2, at byte 8. Give plain text, JSONL or CSV in UTF-8."
    said = error(BadFile, stream(b"\xef\xbb\xbffine\ncaf\xe9 noir"))
    assert said.startswith("the stream is not UTF-8: line 2, byte 11 is 0xe9 (invalid continuation byte). Convert it")
    assert error(BadFile, stream(b"\xef\xbb\xbf\xff")).startswith("the stream is not UTF-8: line 1, byte 3 is 0xff")
    assert "is UTF-16" in error(BadFile, stream("headline".encode("utf-16")))


def test_bad_files(tmp_path: Path) -> None:
    said = error(BadFile, tmp_path)
    assert said == f"{str(tmp_path)!r} is a directory. Name a file in it, for example {str(tmp_path / 'headlines.txt')!r}."
    assert error(Missing, tmp_path / "no.txt").startswith(f"there is no file {str(tmp_path / 'no.txt')!r}.")
    (tmp_path / "plain.txt.gz").write_text("not packed\n")
    assert "ends in .gz but its first bytes" in error(BadFile, tmp_path / "plain.txt.gz")
    (tmp_path / "one.json").write_text("[]")
    assert "is one JSON document" in error(BadConfig, tmp_path / "one.json")
    (tmp_path / "empty.jsonl.zst").write_bytes(b"")
    assert "has no text in it" in error(BadFile, tmp_path / "empty.jsonl.zst")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_packing_is_never_taken_for_a_short_file(tmp_path: Path, suffix: str) -> None:
    whole = packed("".join(f"headline {i * i}\n" for i in range(5000)).encode(), suffix)
    path = tmp_path / f"in.txt{suffix}"
    for data in (whole[:-9], whole[: len(whole) // 2], whole[:300] + bytes(64) + whole[364:]):
        path.write_bytes(data)
        assert "is damaged" in error(BadFile, path) or "binary" in error(BadFile, path)
    path.write_bytes(whole + whole)
    assert sum(1 for _ in read_texts(path)) == 10_000


def test_a_zstandard_bomb_costs_an_error_not_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.txt.zst"
    path.write_bytes(zstandard.compress(b"a" * (64 * 2**20)))
    assert path.stat().st_size < 10_000
    assert "longer than 16 MiB" in error(LimitReached, path)


def test_bad_jsonl() -> None:
    said = error(BadFile, stream('{"text": "fine"}\n\n{"text": '), form="jsonl")
    assert said == "line 3 of the stream is not JSON: Expecting value at column 10. JSONL has one complete JSON value on each line."
    assert "nested too deeply" in error(BadFile, stream("[" * 200_000), form="jsonl")
    assert "is not JSON" in error(BadFile, stream("1" * 5000), form="jsonl")
    for value, kind in [("3", "a number"), ("null", "null"), ("[]", "a list"), ("true", "true or false")]:
        said = error(BadFile, stream(f'{{"title": {value}}}'), field="title")
        assert said.startswith(f"field 'title' in line 1 of the stream is {kind}, not text.")
    assert "surrogate" in error(BadFile, stream(r'"\ud83d"'), form="jsonl")
    said = error(UnknownName, stream('{"title": "x", "body": "y"}'), field="titel")
    assert said == "unknown field 'titel'. Did you mean 'title'? Known: body, title. That is line 1 of the stream."
    assert error(UnknownName, stream('{"title": "x"}'), form="jsonl").endswith("Name the field that holds the text.")


def test_bad_csv() -> None:
    said = error(UnknownName, stream("id,headline\n1,x"), column="headlin")
    assert said == "unknown column 'headlin'. Did you mean 'headline'? Known: headline, id. The first line of the stream names the columns."
    said = error(BadFile, stream("id,text\n1,x\n2\n"), form="csv")
    assert said == "the stream has 1 cells in line 3 where the first line names 2 columns; column 'text' is not there."
    assert "is not CSV: unexpected end of data, in line 3" in error(BadFile, stream('text\nfine\n"open'), form="csv")


def test_two_columns_of_one_name_are_refused() -> None:
    said = error(BadFile, stream("text,desk,desk\na,b,c\n"), form="csv")
    assert said == "the stream names two columns 'desk' in its first line. Give each column a name of its own."
    assert list(read_texts(stream("text,,\na,,\n"), form="csv")) == ["a"]


def test_what_cannot_be_read_at_all_is_said() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, into: Any) -> int:
            raise OSError(5, "Input/output error")

    assert error(BadFile, io.BufferedReader(Broken())).endswith(" cannot be read: Input/output error.")


def test_a_cell_too_many_is_never_cut_away() -> None:
    said = error(BadFile, stream("text\nRates held, for now\n"), form="csv")
    assert said == ("the stream has 2 cells in line 2 where the first line names 1 columns. A cell with ',' in it is put in double quotes.")
    assert "has 3 cells in line 3" in error(BadFile, stream("id,text\n1,fine\n2,cut,here\n"), form="csv")
    assert list(read_texts(stream("id,text\n1,fine,,\n"), form="csv")) == ["fine"]  # nothing was in them


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_told_by_the_first_line(separator: str) -> None:
    rows = ["id", "text"], ["1", "held; for, now | again"], ["2", "rain"]
    whole = "\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)
    assert list(read_texts(stream(whole), form="csv")) == ["held; for, now | again", "rain"]
    headlines = whole.replace("text", "headline")
    assert list(read_texts(stream(headlines), column="headline")) == ["held; for, now | again", "rain"]
    assert "unknown column 'text'. Known: headline, id." in error(UnknownName, stream(headlines), form="csv")


@pytest.mark.parametrize(
    ("form", "blank"), [("lines", b"\n"), ("lines", b" " * 2000 + b"\n"), ("jsonl", b'{"text": ""}\n'), ("jsonl", b"\n"), ("csv", b'""\n')]
)
def test_blanks_without_end_cost_an_error_not_an_hour(form: Form, blank: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_BLANK_RECORDS", 10_000)
    monkeypatch.setattr(intake, "MAX_BLANK_BYTES", 2**20)
    first = {"lines": b"fine\n", "jsonl": b'"fine"\n', "csv": b"text\nfine\n"}[form]
    path = tmp_path / "in.zst"
    few, many = 500, 10 * 2**20 // len(blank)
    path.write_bytes(zstandard.compress(first + blank * few + first.removeprefix(b"text\n") + blank * many))
    texts = read_texts(path, form=form)
    assert list(islice(texts, 2)) == ["fine", "fine"]
    with pytest.raises(LimitReached, match=r"blank lines or records .* without a text"):
        next(texts)
    for name in ("in.jsonl.zst", "in.csv.zst", "in.txt.zst"):
        if name.split(".")[1][:3] in (form[:3], "txt" if form == "lines" else ""):
            path.rename(tmp_path / name)
            with pytest.raises(LimitReached, match="without a text"):
                list(documents_in(DataFile.at(tmp_path / name)))
            return


def test_options_that_cannot_go_together(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text\none\n")
    assert "name one" in error(BadConfig, path, field="a", column="b")
    assert (
        error(BadConfig, path, field="a")
        == f"field 'a' was named, but {str(path)!r} is read as csv. Fields are of JSONL; name a column instead."
    )
    assert error(BadConfig, stream("x"), column="a", form="lines").endswith("plain lines have neither.")
    assert list(read_texts(path, form="lines")) == ["text", "one"]
