"""`hooke attribute`: which features push what a model expects after a text."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hooke.cli.named import model_for, named
from hooke.cli.options import AtlasFile, ExactDtype, Json, OneSae, OwnModel
from hooke.cli.output import Status, console_for, print_line
from hooke.cli.values import FEW, TEXT, TEXTS, count

if TYPE_CHECKING:
    from hooke.atlas import Atlas
    from hooke.attribute import Attribution

_SCHEMA = 1


def attribute(
    text: Annotated[str, TEXTS, Parameter(help="What the model reads, or a file with it.")],
    *,
    token: Annotated[
        str | None, TEXT, Parameter(help="The next token in question; by default the one that the model finds likeliest.")
    ] = None,
    against: Annotated[
        str | None, TEXT, Parameter(help="Another token: how far the first stands above it, not its log probability.")
    ] = None,
    sae: OneSae = None,
    method: Annotated[
        Literal["gradient", "integrated", "exact"],
        Parameter(help="One gradient, several on the way to the baseline, or each taken out alone."),
    ] = "integrated",
    baseline: Annotated[
        str | None, TEXT, Parameter(help="A text of as many tokens to compare with; by default features are silent.")
    ] = None,
    steps: Annotated[int, count(1, 1000), Parameter(help="Gradients of `integrated`.")] = 10,
    check: Annotated[int, count(0, 10_000), Parameter(help="Largest contributions that are compared with exact ones.")] = 20,
    top: Annotated[int, FEW, Parameter(help="Features shown.")] = 10,
    model: OwnModel = None,
    dtype: ExactDtype = "float32",
    atlas: AtlasFile = None,
    json: Json = False,
) -> None:
    """Show which features push what a model expects next, and how far that can be trusted."""
    from hooke.cli.atlases import find_sae, open_atlases, opened_by
    from hooke.text.arguments import text_from

    text = text_from(text)
    known, name = find_sae(sae, open_atlases(atlas))
    with Status() as status:
        [place] = named([opened_by(name, [sae])], status)
        from hooke.attribute import attribute as run
        from hooke.attribute import likeliest, log_prob, logit_difference, one_token

        own = place.open()
        known.check(own)
        loaded = model_for([own], model, status, dtype=dtype)
        wanted = likeliest(loaded, text) if token is None else one_token(loaded, token)
        other = None if against is None else one_token(loaded, against)
        metric = log_prob(wanted) if other is None else logit_difference(wanted, other)
        status("Following gradients" if method != "exact" else "Taking out one feature after another")
        found = run(loaded, own, text, metric, method=method, baseline=baseline, steps=steps, check=check)
    words = [loaded.tokenizer.piece(one) for one in (wanted, other) if one is not None]
    if json:
        print_line(_document(found, words, known, top))
    else:
        from hooke.report.attribution_terminal import print_attribution

        features = found.by_feature()[:top]
        print_attribution(found, words, {index: known.feature(f"{name}/{index}").title for index, _ in features}, console_for(), top)


def _document(found: "Attribution", words: list[str], known: "Atlas", top: int) -> dict[str, Any]:
    features = [
        {"feature": f"{found.sae}/{index}", "title": known.feature(f"{found.sae}/{index}").title, "value": value}
        for index, value in found.by_feature()[:top]
    ]
    token, against = words[0], words[1] if len(words) > 1 else None
    sums = {"total": found.total, "completeness": found.completeness}
    return {"schema_version": _SCHEMA, "token": token, "against": against, **asdict(found), **sums, "features": features}
