"""`hooke steer --for`: features proposed for words, by what each was measured to do to them, never by name alone."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hooke.cli.named import model_for
from hooke.cli.output import Status, console_for, print_line

if TYPE_CHECKING:
    from hooke.atlas import Atlas

_SCHEMA, _SHOWN = 1, 8


def proposed(atlas: "Atlas", sae: str, wanted: str, model: str | None, *, show: bool, as_json: bool) -> tuple[str, ...]:
    """The feature to turn for the words `wanted`; or none, when those that were looked at are to be shown."""
    with Status() as status:
        from hooke.propose import best_of, known, looked_at, propose, tokens_for, words_of
        from hooke.sae import Sae

        words, own = words_of(wanted), Sae.from_pretrained(sae)
        atlas.check(own)
        loaded = model_for([own], model, status)
        tokens = tokens_for(loaded, words)
        told = lambda done, total: status.count(f"Measuring: {done} of {total} steps")  # noqa: E731
        chosen = looked_at(loaded, own, atlas, words, tokens, known(atlas, sae, tokens))
        found = propose(loaded, own, atlas.table(sae).max, tokens, chosen, progress=told)
    if not show:
        return (best_of(found, sae, words),)
    titles = {one.feature: atlas.feature(f"{sae}/{one.feature}").title for one in found[:_SHOWN]}
    if as_json:
        rows: list[dict[str, Any]] = [
            asdict(one) | {"feature": f"{sae}/{one.feature}", "title": titles[one.feature]} for one in found[:_SHOWN]
        ]
        print_line({"schema_version": _SCHEMA, "model": loaded.name, "words": words, "proposals": rows})
    else:
        from hooke.report.proposals_terminal import print_proposals

        print_proposals(words, sae, found[:_SHOWN], titles, console_for())
    return ()
