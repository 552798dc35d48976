"""`hooke search`: features by what they are called, by the text they fire on, by what they write."""

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from hooke.cli.options import AtlasFile, Json, OnlySaes
from hooke.cli.output import Status, console_for, print_line
from hooke.cli.values import FEW, refuse_options, share

if TYPE_CHECKING:
    from hooke.atlas.search import SearchHit, SearchResult


def search(
    *query: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            validator=lambda kind, word: refuse_options(kind, word) if word.startswith("--") else None,
            help='Words that must be there; "a phrase", a beginn*, and -unwanted also work. None: list.',
        ),
    ],
    among: Annotated[
        tuple[Literal["label", "context", "output"], ...],
        Parameter(name="--in", help="Look only through labels, the text of examples, or the tokens it promotes."),
    ] = (),
    meaning: Annotated[bool, Parameter(help="Find labels that mean much the same; needs hooke[semantic].")] = False,
    sae: OnlySaes = (),
    kind: Annotated[tuple[str, ...], Parameter(help="Only labels of this kind: token, word, context ...")] = (),
    min_score: Annotated[float | None, share(), Parameter(help="Only labels that score so much.")] = None,
    min_density: Annotated[float | None, share(), Parameter(help="Only features that fire on this share of tokens or more.")] = None,
    max_density: Annotated[float | None, share(), Parameter(help="Only features that fire on this share of tokens or less.")] = None,
    starred: Annotated[bool, Parameter(help="Only features with your star.")] = False,
    sort: Annotated[Literal["match", "score", "dense", "rare", "strong", "index"], Parameter(help="What comes first.")] = "match",
    limit: Annotated[int, FEW, Parameter(help="Features shown.")] = 20,
    atlas: AtlasFile = None,
    json: Json = False,
) -> None:
    """Find features by the words of their labels, of the text they fire on, or of what they write."""
    from hooke.atlas.search import WHERE, Filters, chosen
    from hooke.cli.atlases import open_atlases

    filters = Filters(sae, kind, min_score, min_density, max_density, starred)
    opened = open_atlases(atlas)
    known = chosen([name for one in opened for name in one.saes], sae)
    opened = [one for one in opened if set(known) & set(one.saes)]
    text = " ".join(query)
    if meaning:
        with Status() as status:
            options = {"sort": sort, "limit": limit, "progress": status}
            found = [one.search_by_meaning(text, filters=filters, **options) for one in opened]
    else:
        found = [one.search(text, filters=filters, where=among or WHERE, sort=sort, limit=limit) for one in opened]
    result = _together(found, limit)
    if json:
        print_line(result.to_json())
    else:
        from hooke.report.feature_terminal import print_found

        print_found(result, console_for())


def _together(found: "list[SearchResult]", limit: int) -> "SearchResult":
    """What several atlases found, the best of each by turns; those with every word before those with some."""
    from hooke.atlas.search import SearchResult

    whole = [one for one in found if not one.loosened and one.hits] or found
    rounds = zip_longest(*(one.hits for one in whole))
    hits: list[SearchHit] = [hit for hit in chain.from_iterable(rounds) if hit is not None][:limit]
    return SearchResult(hits, found[0].query, all(one.loosened for one in whole))
