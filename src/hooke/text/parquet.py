"""Parquet: the texts of a column, a few rows at a time; pyarrow is loaded only here."""

from collections.abc import Iterator
from typing import Any

from hooke.errors import BadFile, LimitReached, Missing, unknown
from hooke.text.intake import titled
from hooke.text.unpack import ByteStream

_BATCH = 256
_LARGEST_GROUP = 2**31
"""Most bytes that the wanted columns of one row group may unfold to: pyarrow holds a group's columns while it reads them."""


def parquet_texts(name: str, stream: ByteStream, field: str, title: str | None) -> Iterator[str]:
    """The texts in column `field` of the Parquet file `stream`, with column `title`, where there is one, in front; an absent text is empty.

    One row group is held at a time, and of it only these columns. `name` is what messages call the file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise Missing(f"{name!r} is Parquet, which needs pyarrow: pip install 'hooke[parquet]'.") from error
    try:
        with pq.ParquetFile(stream) as file:
            columns = [_column(name, file, field)]
            if title is not None and title in file.schema_arrow.names:
                columns.append(title)
            for group in range(file.num_row_groups):
                _bounded(name, file, group, columns)
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns):
                    texts = batch.column(columns[0]).to_pylist()
                    titles = batch.column(title).to_pylist() if len(columns) > 1 else [None] * len(texts)
                    yield from (titled(head if isinstance(head, str) else "", text or "") for head, text in zip(titles, texts, strict=True))
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise BadFile(f"{name!r} is damaged or not a Parquet file: {(str(error).splitlines() or ['no reason given'])[0]}.") from error


def _column(name: str, file: Any, field: str) -> str:
    """`field`, known to be a column of texts."""
    import pyarrow as pa

    schema = file.schema_arrow
    if schema.names.count(field) != 1:
        raise unknown("column", field, schema.names, f"These are the columns of {name!r}; name the one that holds the text.")
    kind = schema.field(field).type
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)):
        texts = [own.name for own in schema if pa.types.is_string(own.type) or pa.types.is_large_string(own.type)]
        raise BadFile(f"column {field!r} of {name!r} holds {kind}, not text. Columns of text: {', '.join(texts) or 'none'}.")
    return field


def _bounded(name: str, file: Any, group: int, columns: list[str]) -> None:
    meta = file.metadata.row_group(group)
    own = [meta.column(i) for i in range(meta.num_columns)]
    size = sum(part.total_uncompressed_size for part in own if part.path_in_schema in columns)
    if not 0 <= size <= _LARGEST_GROUP:
        raise LimitReached(
            f"row group {group} of {name!r} claims {size:,} bytes of text, and at most {_LARGEST_GROUP >> 30} GiB are held at a time."
            " Write it again with smaller row groups."
        )
