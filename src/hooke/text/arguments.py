"""Arguments: the texts that a command's arguments stand for, each a text itself, a file of texts, or standard input."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice

from hooke.errors import BadConfig, BadFile, Missing
from hooke.text.intake import FORMS, Form, files_like, read_texts, suffix_of

# Files that people have and that are not read; an argument that ends so is no text either.
_OTHER_FILES = (".json", ".parquet", ".md", ".html", ".xlsx", ".xls", ".docx", ".pdf", ".xml", ".yaml", ".yml", ".zip", ".log")


def texts_from(arguments: Sequence[str], *, field: str | None = None, column: str | None = None, form: Form = "auto") -> Iterator[str]:
    """The texts that a command's arguments stand for, in order, each read when it is asked for.

    An argument is ``-`` (standard input), a file that exists, or else a text itself. What is written like one of our
    files (``headlines.txt``) but does not exist is a mistake, not a text.

    >>> list(texts_from(["Rain stops play", "Rates held"]))
    ['Rain stops play', 'Rates held']
    """
    if not arguments:
        raise BadConfig("no text was given. Give texts, files (.txt, .jsonl, .csv, also .gz or .zst), or - to read standard input.")
    if arguments.count("-") > 1:
        raise BadConfig("standard input (-) was asked for more than once; it can be read once.")
    named = (field, column, form) != (None, None, "auto")
    parts: list[Iterator[str]] = []
    for argument in arguments:
        if argument == "-" or _names_file(argument):
            parts.append(read_texts(argument, field=field, column=column, form=form))
        elif named:
            raise Missing(f"there is no file {argument!r}. A field, a column or a form was named, so a file is expected; check the path.")
        elif argument.strip():
            parts.append(iter((argument,)))
    if not parts:
        raise BadFile("the text that was given is empty. Give at least one text with something in it.")
    return (text for part in parts for text in part)


def text_from(argument: str) -> str:
    """The one text that a command's argument stands for, as in `texts_from`. Raises `BadConfig` where a file holds several."""
    first, *more = islice(texts_from([argument]), 2)
    if more:
        raise BadConfig(f"{argument!r} holds several texts, and one is read here. Give the one that is meant.")
    return first


def _names_file(argument: str) -> bool:
    """Whether a command's argument means a file: one is there, or it is written as files are and no text is, or nearly names one."""
    if os.path.exists(argument):  # False, not an error, for what cannot be a path at all
        return True
    if any(c.isspace() for c in argument):
        return False
    suffix, packing = suffix_of(argument)
    folder = os.path.dirname(argument)
    written_so = bool(packing) or suffix in FORMS or suffix in _OTHER_FILES or argument.startswith(("./", "../", "~/"))
    written_so = written_so or argument.endswith("/") or "://" in argument
    return written_so or (bool(folder) and os.path.isdir(folder)) or (bool(suffix) and bool(files_like(argument)))
