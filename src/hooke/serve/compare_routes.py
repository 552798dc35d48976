"""Routes of comparisons: a file looked into, groups of texts held against each other, results and the texts behind them."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from hooke.differences.rows import csv_text
from hooke.serve.comparison_schema import Compared, CompareRequest, Table, TableRequest, WholeText
from hooke.serve.comparisons import Comparisons, example, grouped_texts, table
from hooke.serve.wire import reply, stream
from hooke.serve.worker import Worker

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `able`, what could be seen; `progress` while it goes on; `done` with a Compared; or `error`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def compare_routes(worker: Worker) -> APIRouter:
    """The routes, with the results that they keep."""
    router, kept = APIRouter(prefix="/compare"), Comparisons()

    @router.post("", response_class=Response, responses=_STREAM, summary="What differs between groups of texts")
    async def compare(request: CompareRequest) -> Response:
        grouped = await run_in_threadpool(grouped_texts, request)

        def work(microscope: Any) -> Any:
            for name, value in microscope.compare(grouped, request.saes, request.source or None, request.seed):
                yield ("done", kept.keep(value, grouped, request)) if name == "found" else (name, value)

        return stream(worker.submit(work, long=True))

    @router.post("/table", response_model=Table, summary="The fields of a file of records")
    def look(request: TableRequest) -> Response:
        return reply(table(request.content, request.name, request.text))

    @router.get("/example", response_model=CompareRequest, summary="Headlines of two topics, to try it with")
    def to_try() -> Response:
        return reply(example())

    @router.get("/{id}", response_model=Compared, summary="A result that is kept")
    def result(id: str) -> Response:  # noqa: A002
        return reply(kept.get(id))

    @router.get("/{id}/as/{form}", response_class=Response, summary="A result as a file: a page of its own, a table, or JSON")
    def exported(id: str, form: Literal["html", "csv", "json"]) -> Response:  # noqa: A002
        found = kept.get(id).result
        if form == "json":
            return reply(found.to_json())
        if form == "csv":
            return Response(csv_text(found), media_type="text/csv; charset=utf-8")
        from hooke.report.differences import page

        return Response(page(found), media_type="text/html; charset=utf-8", headers={"Content-Disposition": "attachment"})

    @router.get("/{id}/texts/{number}", response_model=WholeText, summary="The whole of a text behind a row")
    def text(id: str, number: int) -> Response:  # noqa: A002
        return reply(kept.text(id, number))

    return router
