"""Exports: a feature or one of your lists as a file of its own."""

import csv
import io
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from hooke.errors import BadConfig
from hooke.serve.library import MAX_ROWS, Library, Wanted
from hooke.serve.schema import FeatureRow
from hooke.serve.wire import reply
from hooke.text.marks import marked

Form = Literal["html", "json", "csv", "md"]
_FORMS = {"feature": ("html", "json"), "list": ("json", "csv", "md")}
_HEADS = ("feature", "name", "your name", "kind", "how far the name holds", "fires on", "strongest")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_routes(library: Library) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/export")

    @router.get("/{kind}/{id:path}", response_class=Response, summary="A feature (html, json) or a list (json, csv, md) as a file")
    def export(kind: Literal["feature", "list"], id: str, form: Annotated[Form, Query(alias="as")] = "json") -> Response:  # noqa: A002
        if form not in _FORMS[kind]:
            raise BadConfig(f"a {kind} cannot be had as {form}; it can as {' or '.join(_FORMS[kind])}.")
        name = "".join(
            character if character.isalnum() or character in "-." else "-" for character in id.encode("ascii", "ignore").decode()
        )
        headers = {"Content-Disposition": f'attachment; filename="{name or kind}.{form}"'}
        if kind == "list":
            return _list(listed(library, id), form, headers)
        feature = library.feature(id, 24)
        if form == "json":
            return reply(feature.to_json(), headers=headers)
        from hooke.report.feature import page

        return Response(page(feature), 200, headers, "text/html; charset=utf-8")

    return router


def listed(library: Library, name: str) -> list[FeatureRow]:
    """All rows of one of your lists, or of ``starred`` and ``noted``."""
    wanted = Wanted(which=name if name in ("starred", "noted") else f"list:{name}", sort="layer", ascending=True)
    rows: list[FeatureRow] = []
    while not rows or len(rows) % MAX_ROWS == 0:
        page = library.rows(wanted, len(rows), MAX_ROWS)
        rows += page.rows
        if page.cursor is None:
            return rows
    return rows


def _list(rows: list[FeatureRow], form: Form, headers: dict[str, str]) -> Response:
    if form == "json":
        return reply(rows, headers=headers)
    table = [
        (
            row.name,
            row.label or "",
            row.own_label,
            row.kind or "",
            f"{row.rating.word} {row.rating.figure}".strip(),
            f"{row.density:.3g}",
            f"{row.max:.4g}",
        )
        for row in rows
    ]
    if form == "csv":
        out = io.StringIO(newline="")
        # A cell that begins like a formula would be one where the table is opened.
        csv.writer(out).writerows([_HEADS, *([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in table)])
        return Response(out.getvalue(), 200, headers, "text/csv; charset=utf-8")
    lines = [_HEADS, ("---",) * len(_HEADS), *(tuple(_cell(cell) for cell in row) for row in table)]
    return Response("".join(f"| {' | '.join(line)} |\n" for line in lines), 200, headers, "text/markdown; charset=utf-8")


def _cell(text: str) -> str:
    """A text as a cell of a Markdown table: nothing in it is markup."""
    return "".join(f"\\{character}" if character in r"\`*_{}[]<>()#+!|~" else character for character in marked(text))
