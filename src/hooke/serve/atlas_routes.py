"""Routes of what the atlases know: SAEs, features, search, notes and lists. None of them needs the model."""

import hashlib
import json
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Response

from hooke.atlas.feature import Written
from hooke.atlas.query import Query as Words
from hooke.atlas.records import INTERVALS
from hooke.atlas.search import WHERE, Where
from hooke.atlas.wording import SCALE, rated
from hooke.errors import BadConfig
from hooke.names import SaeName
from hooke.sae.packs import installed_saes
from hooke.serve.library import MAX_ROWS, Library, Wanted, names_of, title_of
from hooke.serve.meaning import Meaning
from hooke.serve.problems import MEDIA_TYPE, problem
from hooke.serve.requests import Change, SaveRequest
from hooke.serve.schema import (
    Examples,
    FeatureHead,
    FeaturePage,
    FoundHit,
    Fresh,
    Lists,
    ListSummary,
    NearMisses,
    Neighbours,
    Note,
    SaeDetail,
    SaeRow,
    Saved,
    SearchPage,
    Stretch,
)
from hooke.serve.wire import outcome, reply
from hooke.serve.worker import Worker

_FEATURE = "/features/{collection}/{site}/{variant}/{index}"
_LISTED = "/lists/{name}/{collection}/{site}/{variant}/{index}"
MAX_AROUND = 128
"""Tokens on each side of an example's peak."""


def atlas_routes(library: Library, worker: Worker) -> APIRouter:
    """The routes."""
    router = APIRouter()
    _list_routes(router, library, worker)
    _feature_routes(router, library, worker)
    _note_routes(router, library)
    _kept_list_routes(router, library)
    return router


def _list_routes(router: APIRouter, library: Library, worker: Worker) -> None:
    meaning = Meaning(library)

    @router.get("/saes", response_model=list[SaeRow], summary="Every SAE that an atlas knows")
    def saes() -> Response:
        return reply([_sae_row(library, entry.name, worker) for entry in library.saes])

    @router.get("/saes/{collection}/{site}/{variant}", response_model=SaeDetail, summary="One SAE: what its features are, how it was made")
    def sae(collection: str, site: str, variant: str) -> Response:
        name = f"{collection}/{site}/{variant}"
        library.entry(name)
        ratings = {word: library.rows(Wanted((name,), rating=word), 0, 1).total for word in reversed(SCALE[1:])}
        facts = next((asdict(row.facts) for row in installed_saes() if row.facts.name == name), {})
        return reply(SaeDetail(_sae_row(library, name, worker), library.rows(Wanted((name,)), 0, 1).kinds, ratings, facts))

    @router.get("/features", response_model=FeaturePage, summary="Features, sorted and filtered")
    def features(
        sae: Annotated[list[str], Query(description="Names, sites or layers of SAEs.")] = [],  # noqa: B006 (FastAPI copies it)
        kind: Annotated[list[str], Query(description="Kinds: topic, entity, event, frame, word, grammar, form, unclear.")] = [],  # noqa: B006
        q: Annotated[str, Query(description="Stands in the label.", max_length=1000)] = "",
        which: Annotated[str, Query(description="starred, noted or list:NAME.")] = "",
        rating: Annotated[str, Query(description="Names that seldom, sometimes or usually fit, or better.", max_length=16)] = "",
        min_score: float | None = None,
        min_density: float | None = None,
        max_density: float | None = None,
        sort: Annotated[str, Query(description="named, score, density, max, label, index, evidence or layer.")] = "named",
        ascending: bool = False,
        cursor: Annotated[str, Query(description="What the rows before gave; or the number of a row.", max_length=12)] = "0",
        limit: int = 100,
    ) -> Response:
        if not cursor.isdecimal():
            raise BadConfig(f"cursor {cursor!r} is none that this server gave.")
        wanted = Wanted(tuple(sae), tuple(kind), rating, min_score, min_density, max_density, q, which, sort, ascending)
        return reply(library.rows(wanted, int(cursor), limit))

    @router.get("/search", response_model=SearchPage, summary="Features by words")
    def search(
        q: Annotated[str, Query(description='Words, "a phrase", a beginning*, -without.', max_length=1000)],
        among: Annotated[
            list[Where | Literal["meaning"]],
            Query(alias="in", description="Where the words may stand; `meaning`: names that mean it."),
        ] = [],  # noqa: B006
        sae: Annotated[list[str], Query(description="Names, sites or layers of SAEs.")] = [],  # noqa: B006
        limit: int = 40,
    ) -> Response:
        if not 1 <= limit <= MAX_ROWS:
            raise BadConfig(f"limit {limit} cannot be; from 1 to {MAX_ROWS} features are found at a time.")
        if "meaning" in among:
            found = meaning.search(q, tuple(sae), limit)
        else:
            found = library.search(q, tuple(sae), [place for place in among if place != "meaning"], limit)
        counts = {place: sum(place in hit.found_in for hit in found) for place in WHERE}
        query = Words.parse(q) if q.strip() else None
        hits = [FoundHit(**vars(hit), rating=rated(hit), by_name=query is not None and query.hits(hit.title or "") > 0) for hit in found]
        return reply(SearchPage(q, hits, found.loosened, counts))


def _feature_routes(router: APIRouter, library: Library, worker: Worker) -> None:
    def found(collection: str, site: str, variant: str, index: int, around: int, *, brief: bool = False) -> Any:
        if not 0 <= around <= MAX_AROUND:
            raise BadConfig(f"around {around} cannot be; from 0 to {MAX_AROUND} tokens stand on each side of an example.")
        return library.feature(f"{collection}/{site}/{variant}/{index}", around, brief=brief)

    @router.get(_FEATURE, response_model=FeatureHead, summary="One feature: figures, strongest examples, what it writes")
    def feature(collection: str, site: str, variant: str, index: int, around: int = 24) -> Response:
        one = found(collection, site, variant, index, around, brief=True)
        entry = library.entry(f"{collection}/{site}/{variant}")
        with library.reading():
            lists = library.notes.lists(entry, index)
        read = entry.facts.get("tokens")
        who = one.name, entry.name, index, entry.d_sae, entry.digest, read
        return reply(FeatureHead(*who, title_of(one), one.kind, one.sensitive, one, names_of(one), lists, etag(one.written)))

    @router.get(f"{_FEATURE}/examples", response_model=Examples, summary="Examples from every stretch of its range")
    def examples(collection: str, site: str, variant: str, index: int, around: int = 24) -> Response:
        one = found(collection, site, variant, index, around)
        total = sum(one.histogram)
        per = len(one.histogram) // INTERVALS or 1
        shares = [sum(one.histogram[i * per : (i + 1) * per]) / total if total else None for i in range(INTERVALS)]
        ends = [one.stretch(i) for i in range(INTERVALS)]
        stretches = [Stretch(*ends[i], share=shares[i], passages=passages) for i, passages in enumerate(one.intervals)]
        return reply(Examples(stretches[::-1]))

    @router.get(f"{_FEATURE}/near-misses", response_model=NearMisses, summary="Where it might have fired and did not")
    def near_misses(collection: str, site: str, variant: str, index: int, around: int = 24) -> Response:
        return reply(NearMisses(found(collection, site, variant, index, around).misses))

    @router.get(f"{_FEATURE}/fresh", response_model=Fresh, summary="What it does in the short texts that come with Hooke, read now")
    async def fresh(collection: str, site: str, variant: str, index: int) -> Response:
        one = library.feature(f"{collection}/{site}/{variant}/{index}", 0)
        return await outcome(worker.submit(lambda microscope: microscope.shipped(one), long=True), "found")

    @router.get(f"{_FEATURE}/neighbours", response_model=Neighbours, summary="Features that write alike or fire together")
    def neighbours(collection: str, site: str, variant: str, index: int) -> Response:
        one = found(collection, site, variant, index, 0, brief=True)
        return reply(Neighbours(one.neighbours, one.together))


def _note(library: Library, collection: str, site: str, variant: str, index: int) -> Note:
    entry = library.entry(f"{collection}/{site}/{variant}")
    with library.reading():
        written = library.notes.get(entry, index)
        return Note(f"{entry.name}/{index}", written, library.notes.lists(entry, index), etag(written))


def _note_routes(router: APIRouter, library: Library) -> None:
    @router.get("/notes", response_model=dict[str, Any], summary="Everything you wrote, as one document")
    def notes() -> Response:
        with library.reading():
            return reply(library.notes.export())

    @router.post("/notes", response_model=dict[str, int], summary="Take in a document of notes")
    def load(document: Annotated[dict[str, Any], Body()]) -> Response:
        with library.reading():
            return reply({"taken": library.notes.load(document)})

    @router.get("/notes/{collection}/{site}/{variant}/{index}", response_model=Note, summary="What you wrote about a feature")
    def get_note(collection: str, site: str, variant: str, index: int) -> Response:
        return reply(_note(library, collection, site, variant, index))

    @router.put(
        "/notes/{collection}/{site}/{variant}/{index}",
        response_model=Note,
        summary="Star, name or note a feature; with If-Match only what is still as it was read",
    )
    def put_note(
        collection: str, site: str, variant: str, index: int, change: Change, if_match: Annotated[str | None, Header(max_length=100)] = None
    ) -> Response:
        entry = library.entry(f"{collection}/{site}/{variant}")
        with library.reading():
            if if_match is not None and if_match.strip('"') != etag(library.notes.get(entry, index)):
                told = problem(
                    "changed", 412, "this note was changed since it was read, in another tab or program. Look at it, and keep again."
                )
                return Response(told.body(), told.status, media_type=MEDIA_TYPE)
            library.notes.put(entry, index, **asdict(change))
        return reply(_note(library, collection, site, variant, index))

    @router.post("/saved", response_model=Saved, summary="Keep a text that is too long for an address")
    def save(text: SaveRequest) -> Response:
        with library.reading():
            return reply(Saved(library.notes.save(text.text), text.text))

    @router.get("/saved/{name}", response_model=Saved, summary="A text that was kept")
    def saved(name: str) -> Response:
        with library.reading():
            return reply(Saved(name, library.notes.saved(name)))


def _kept_list_routes(router: APIRouter, library: Library) -> None:
    @router.get("/lists", response_model=Lists, summary="Your lists")
    def lists() -> Response:
        with library.reading():
            written = [w for entry in library.saes for w in library.notes.of(entry).values()]
            names = library.notes.lists()
            counted = [ListSummary(name, sum(len(library.notes.listed(name, entry)) for entry in library.saes)) for name in names]
        return reply(Lists(sum(w.star for w in written), sum(bool(w.note or w.label) for w in written), counted))

    @router.put(_LISTED, response_model=Note, summary="Put a feature into a list")
    def enlist(name: str, collection: str, site: str, variant: str, index: int) -> Response:
        with library.reading():
            library.notes.enlist(name, library.entry(f"{collection}/{site}/{variant}"), index)
        return reply(_note(library, collection, site, variant, index))

    @router.delete(_LISTED, response_model=Note, summary="Take a feature out of a list")
    def delist(name: str, collection: str, site: str, variant: str, index: int) -> Response:
        with library.reading():
            library.notes.enlist(name, library.entry(f"{collection}/{site}/{variant}"), index, out=True)
        return reply(_note(library, collection, site, variant, index))


def etag(written: Written) -> str:
    """Changes whenever what is written does."""
    return hashlib.sha256(json.dumps(asdict(written)).encode()).hexdigest()[:16]


def _sae_row(library: Library, name: str, worker: Worker) -> SaeRow:
    entry, atlas, parsed = library.entry(name), library.of[name], SaeName.parse(name)
    named, dead, l0 = library.figures(name)
    facts = entry.facts
    return SaeRow(
        name,
        str(atlas.facts.get("model", "")),
        str(parsed.site),
        parsed.site.layer,
        entry.d_sae,
        l0,
        facts.get("explained"),
        facts.get("explained_headlines"),
        facts.get("tokens"),
        True,
        named,
        dead,
        entry.digest,
        name in worker.saes,
    )
