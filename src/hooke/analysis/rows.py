"""Rows: an analysis as one flat table, a row for each text and feature, for data frames and spreadsheets."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooke.errors import Missing
from hooke.files import atomic_write

if TYPE_CHECKING:
    from hooke.analysis.result import Analysis, Hit, TextResult

COLUMNS: dict[str, type] = {
    "text_index": int,
    "text": str,
    "topic": str,
    "topic_score": float,
    "explained": float,
    "truncated": int,
    "rank": int,
    "group": str,
    "feature": str,
    "name": str,
    "own_label": str,
    "label": str,
    "label_score": float,
    "label_evidence": int,
    "label_method": str,
    "activation": float,
    "relative": float,
    "specificity": float,
    "token": str,
    "pos": int,
}
"""The columns that every analysis has, after those that came with the texts, and what is in each (or nothing)."""

_OF_HIT = ("group", "feature", "name", "own_label", "label", "label_score", "label_evidence", "label_method")
_OF_HIT += ("activation", "relative", "specificity", "token", "pos")


def columns(analysis: "Analysis") -> dict[str, list[Any]]:
    """The table by column, all of one length.

    First stand the fields that came with the texts, as they are where a column is all text, all numbers or all truths, else as text (JSON);
    one that is called as a column of ours gets ``input_`` in front. A text without features has one row, in which the features' columns
    are empty.
    """
    shown = {name: _free(name) for text in analysis.texts for name in text.fields}
    table: dict[str, list[Any]] = {name: [] for name in (*shown.values(), *COLUMNS)}
    for number, text in enumerate(analysis.texts):
        own = {column: text.fields.get(name) for name, column in shown.items()}
        score = next((entry.score for entry in text.topics if entry.topic == text.topic), None)
        own |= {"text_index": number, "text": text.text, "topic": text.topic, "topic_score": score}
        own |= {"explained": text.explained, "truncated": text.truncated}
        for rank, hit in _ranked(text) or [(None, None)]:
            row = own | {"rank": rank} | {name: getattr(hit, name, None) for name in _OF_HIT}
            for name, column in table.items():
                column.append(row[name])
    return {name: values if name in COLUMNS else _of_one_kind(values) for name, values in table.items()}


def _free(name: str) -> str:
    return f"input_{name}" if name in COLUMNS else name


def _ranked(text: "TextResult") -> "list[tuple[int | None, Hit | None]]":
    """Every feature of a text once, with its place in its list."""
    ranked: dict[str, tuple[int | None, Hit | None]] = {}
    for hits in (text.about, text.words, text.features):
        for rank, hit in enumerate(hits, 1):
            ranked.setdefault(hit.feature, (rank, hit))
    return list(ranked.values())


def _of_one_kind(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    whole = kinds == {int} and all(-(2**63) <= value < 2**63 for value in values if value is not None)
    if whole or kinds in (set(), {str}, {float}, {bool}):
        return values
    return [value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]


def write_csv(analysis: "Analysis", path: Path) -> None:
    """Write the table to a CSV file, UTF-8, its first line naming the columns; nothing stands where nothing is known."""
    table = columns(analysis)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def write_parquet(analysis: "Analysis", path: Path) -> None:
    """Write the table to a Parquet file; `Missing` without pyarrow."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise Missing("writing Parquet needs pyarrow: pip install 'hooke[parquet]'.") from error
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    table = columns(analysis)
    arrays = [pa.array(values, kinds[COLUMNS[name]] if name in COLUMNS else None) for name, values in table.items()]
    with atomic_write(path) as file:
        parquet.write_table(pa.table(arrays, names=list(table)), file)


def to_pandas(analysis: "Analysis") -> Any:
    """The table as a `pandas.DataFrame`; `Missing` without pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise Missing("to_pandas needs pandas: pip install pandas.") from error
    kinds: dict[type | None, str] = {int: "Int64", float: "float64", str: "string"}
    frame = {name: pd.Series(values, dtype=kinds.get(COLUMNS.get(name))) for name, values in columns(analysis).items()}
    return pd.DataFrame(frame)


def to_polars(analysis: "Analysis") -> Any:
    """The table as a `polars.DataFrame`; `Missing` without polars."""
    try:
        import polars as pl
    except ImportError as error:
        raise Missing("to_polars needs polars: pip install polars.") from error
    kinds = {int: pl.Int64, float: pl.Float64, str: pl.String}
    return pl.DataFrame(columns(analysis), schema_overrides={name: kinds[kind] for name, kind in COLUMNS.items()})
