"""App: the interface under ``/api/v1``, the page beside it, and the guard around both."""

import importlib.metadata
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from hooke.atlas import wording
from hooke.errors import HookeError
from hooke.serve.atlas_routes import MAX_AROUND, atlas_routes
from hooke.serve.compare_routes import compare_routes
from hooke.serve.comparisons import MAX_COMPARED
from hooke.serve.exports import export_routes
from hooke.serve.guard import MAX_BODY, Guard
from hooke.serve.lensed import check_lens, lensed
from hooke.serve.library import MAX_ROWS, Library
from hooke.serve.meaning import has_encoder
from hooke.serve.microscope import MAX_CHARACTERS, MAX_SAES, MAX_TEXTS, MAX_TOP, check_request
from hooke.serve.problems import DOCUMENTED, MEDIA_TYPE, Problem, problem, problem_of, unexpected
from hooke.serve.proposed import proposed
from hooke.serve.requests import ActivationsRequest, AnalyzeRequest, Key, LensRequest, ProposeRequest, SteerRequest, TokenizeRequest
from hooke.serve.runs import RunDetail, Runs, read_run, read_runs
from hooke.serve.schema import About, ModelState, Tokenized
from hooke.serve.session import API, Session
from hooke.serve.shell import PAGES, Shell
from hooke.serve.steered import MAX_DOSES, MAX_STEER_TOKENS, check_steer, steered
from hooke.serve.wire import outcome, plain, reply, stream
from hooke.serve.worker import MAX_WAITING, Worker

LIMITS = {
    "body_bytes": MAX_BODY,
    "texts": MAX_TEXTS,
    "characters": MAX_CHARACTERS,
    "features_per_text": MAX_TOP,
    "saes": MAX_SAES,
    "doses": MAX_DOSES,
    "steer_tokens": MAX_STEER_TOKENS,
    "rows": MAX_ROWS,
    "around": MAX_AROUND,
    "compared": MAX_COMPARED,
    "waiting": MAX_WAITING,
}
"""The most of everything that can be asked for."""


def _streaming(told: str) -> dict[int | str, dict[str, Any]]:
    """What a route that answers with events says of them in the schema."""
    said = f"Server-sent events: {told}; or `error` with a problem"
    return {200: {"description": said, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}


_READ = _streaming("`meta`, `text` for each text or part of one, `done`")
_ACTIVE = _streaming(
    "`meta`, `activations` for each text or part of one and each SAE, as compressed sparse rows, a row for each token; `done`"
)
_LENSED = _streaming(
    "`loading` the first time, `meta`, `features` for each SAE, `layer` for each layer from the last down, `done`; of two texts"
    " `features_differ` and `layers_differ`"
)
_STEERED = _streaming(
    "`loading` the first time, `state`, `written` after each token with every arm so far, `tried` for each dose where one is"
    " looked for, `meta` before features are turned, `done` with what `hooke steer --json` prints"
)
_PREPARED = _streaming("`loading` with the share that is done, `done`")
_PROPOSED = _streaming(
    "`known`, features whose effect an atlas has; where they are measured `loading` the first time, `progress` and `found`; `done`"
)


def make_app(session: Session, library: Library, worker: Worker, run_folders: list[Path]) -> Guard:
    """The whole server as an ASGI application; the worker begins to load when it starts."""
    shell = Shell()
    app = _routed(session, library, worker, run_folders)
    app.add_api_route("/{path:path}", shell.serve, methods=["GET", "HEAD"], include_in_schema=False)
    return Guard(app, session, shell.knows)


def interface() -> dict[str, Any]:
    """The interface's schema, OpenAPI 3.1."""
    schema = _routed(Session(0), Library([]), Worker(None, _no_model), []).openapi()
    kinds = schema["components"]["schemas"]
    kinds["Problem"] = TypeAdapter(Problem).json_schema()
    for name in ("HTTPValidationError", "ValidationError"):  # ours are problems as well
        kinds.pop(name, None)
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    return schema


def _no_model(_: Any) -> Any:
    raise AssertionError("a worker without a model loads none")


def _routed(session: Session, library: Library, worker: Worker, run_folders: list[Path]) -> FastAPI:
    """The interface, without guard and page."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        threading.Thread(target=library.prepare, name="library", daemon=True).start()
        yield
        library.close()

    app = FastAPI(
        title="Hooke",
        version="1",
        description="What `hooke serve` answers. The key from the address that it printed goes into `Authorization: Bearer`.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    _tell_problems(app)
    router = APIRouter(prefix=API, responses=DOCUMENTED)
    _about_routes(router, session, library, worker)
    router.include_router(atlas_routes(library, worker))
    _model_routes(router, library, worker)
    router.include_router(compare_routes(worker))
    router.include_router(export_routes(library))
    _run_routes(router, run_folders)
    app.include_router(router)
    return app


def _tell_problems(app: FastAPI) -> None:
    def answer(told: Problem) -> Response:
        headers = {"Retry-After": "1"} if told.status == 429 else None
        return Response(told.body(), told.status, headers, MEDIA_TYPE)

    @app.exception_handler(HookeError)
    def ours(_: Request, error: HookeError) -> Response:
        return answer(problem_of(error))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(problem("bad-request", 400, f"{where}: {first['msg'].lower()}."[:500]))

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> Response:
        return answer(problem("not-found" if error.status_code == 404 else "bad-request", error.status_code, f"{error.detail}."))

    @app.exception_handler(Exception)
    def other(_: Request, error: Exception) -> Response:
        traceback.print_exception(error, file=sys.stderr)
        return answer(unexpected())


def _about_routes(router: APIRouter, session: Session, library: Library, worker: Worker) -> None:
    @router.post("/session", status_code=204, summary="Swap the key for a cookie")
    def swap(key: Key) -> Response:
        if not session.is_token(key.token):
            told = problem("no-key", 401, "this key is not the one that `hooke serve` printed when it last started.")
            return Response(told.body(), told.status, media_type=MEDIA_TYPE)
        answer = Response(status_code=204)
        answer.set_cookie(session.cookie, session.secret, httponly=True, samesite="strict", path="/")
        return answer

    @router.get("/openapi.json", include_in_schema=False)
    def schema() -> Response:
        return Response(files("hooke.serve").joinpath("openapi.json").read_bytes(), media_type="application/json")

    @router.get("/health", response_model=dict[str, str], summary="Whether the server is alive")
    def health() -> Response:
        return reply({"state": "alive"})

    @router.get("/about", response_model=About, summary="What this server is, and what it can do")
    def about() -> Response:
        model = ModelState(worker.model, worker.state, worker.detail, worker.saes, worker.default)
        keys = ("model", "tokens", "documents", "topics", "corpora")
        atlases = [
            {"file": atlas.path.name, "contexts": atlas.has_contexts, **{key: atlas.facts.get(key) for key in keys}}
            for atlas in library.atlases
        ]
        ratings = {"here": wording.HERE, "tried": wording.TRUTH, "fits": wording.FITS, "rule": wording.OF_RULE}
        features = sum(entry.d_sae for entry in library.saes)
        return reply(About(importlib.metadata.version("hooke"), model, atlases, features, LIMITS, ratings, has_encoder(), PAGES))


def _model_routes(router: APIRouter, library: Library, worker: Worker) -> None:
    @router.post("/analyze", response_class=Response, responses=_READ, summary="Which features stand out in texts")
    async def analyze(request: AnalyzeRequest) -> Response:
        check_request(request.texts, request.saes, request.top)
        return stream(worker.submit(lambda microscope: named(microscope.analyze(request.texts, request.saes, request.top), library)))

    @router.post("/activations", response_class=Response, responses=_ACTIVE, summary="Every activation on every token of texts")
    async def activations(request: ActivationsRequest) -> Response:
        check_request(request.texts, request.saes, 1)
        return stream(worker.submit(lambda microscope: microscope.activations(request.texts, request.saes, request.features)))

    @router.post("/steer", response_class=Response, responses=_STEERED, summary="Text written with features turned up or down")
    async def steer(request: SteerRequest) -> Response:
        check_steer(request)
        return stream(worker.submit(lambda microscope: steered(microscope, library, request)))

    @router.post("/prepare", response_class=Response, responses=_PREPARED, summary="What writes, loaded before it is asked for")
    async def prepare() -> Response:
        return stream(worker.submit(lambda microscope: chain(microscope.whole(), [("done", {})]), long=True))

    @router.post("/propose", response_class=Response, responses=_PROPOSED, summary="Features that make the model write some words")
    async def propose(request: ProposeRequest) -> Response:
        return stream(worker.submit(lambda microscope: proposed(microscope, library, request), long=request.measure))

    @router.post("/lens", response_class=Response, responses=_LENSED, summary="One text through every layer")
    async def lens(request: LensRequest) -> Response:
        check_lens(request)
        return stream(worker.submit(lambda microscope: lensed(microscope, library, request)))

    @router.post("/tokenize", response_model=Tokenized, summary="Texts cut into tokens")
    async def tokenize(request: TokenizeRequest) -> Response:
        check_request(request.texts, [], 1)
        return await outcome(worker.submit(lambda microscope: iter([("tokens", Tokenized(microscope.tokenize(request.texts)))])), "tokens")


def named(events: Any, library: Library) -> Any:
    """The events of an analysis, each feature with your own name where you gave one, and what the page says of it.

    That is how far its name can be relied on (``rating``), how often it fires (``density``), the tokens of the word that it says
    most of (``word_at``), and those on which its tint is kept pale (``faint``); of a feature of words also what it is called behind its
    word (``behind``), null where that says nothing more.
    """
    from hooke.analysis.wording import Words, behind_words, rated

    beside = library.beside()
    for name, value in events:
        if name == "text":
            told = plain(value["result"])
            words = Words(value["result"].tokens)
            behind = {hit.feature: said for hit, said in behind_words(value["result"].words, words)}
            for group in ("features", "about", "words"):
                for hit, row in zip(getattr(value["result"], group), told[group], strict=True):
                    own, density = beside(hit.sae, hit.index)
                    row |= {"own_label": own, "rating": rated(replace(hit, own_label=own))}
                    at = words.pieces(words.at[hit.pos]) if hit.group == "words" else words.tokens_of(hit)
                    row |= {"density": density, "word_at": list(at), "faint": sorted(words.faint(hit))}
                    row |= {"behind": behind.get(hit.feature)} if group == "words" else {}
            yield name, value | {"result": told}
        else:
            yield name, value


def _run_routes(router: APIRouter, folders: list[Path]) -> None:
    @router.get("/runs", response_model=Runs, summary="Jobs, as their folders tell them")
    def runs() -> Response:
        return reply(Runs([str(folder) for folder in folders], read_runs(folders)))

    @router.get("/run", response_model=RunDetail, summary="One training run with its curves")
    def run(path: str) -> Response:
        return reply(read_run(folders, path))
