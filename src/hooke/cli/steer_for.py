"""`hooke steer --for`: features proposed for words, by what each was measured to do to them, never by name alone."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hooke.cli.named import model_for
from hooke.cli.output import Status, console_for, print_line
from hooke.errors import BadConfig, Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hooke.atlas import Atlas
    from hooke.propose import Proposal

_SCHEMA, _SHOWN, _BY_DIRECTION, _BY_EFFECT, _BY_NAME = 1, 8, 24, 8, 8


@dataclass(frozen=True)
class Proposals:
    """Features proposed for some words."""

    words: list[str]
    sae: str
    model: str
    proposals: "list[Proposal]"

    @property
    def best(self) -> str:
        """The one that raises the words most. Raises `Missing` where none raises them more than random steps do."""
        for one in self.proposals:
            if one.rise.low > 0 and one.p <= 0.05:
                return f"{self.sae}/{one.feature}"
        raise Missing(f"no feature of {self.sae} raises {', '.join(self.words)} more than random steps as long do. Try other words.")


def proposals(atlas: "Atlas", sae: str, wanted: str, model: str | None) -> Proposals:
    """Those of features that might raise the words (by their directions, measured effects and names), each measured."""
    words = [word for part in wanted.split(",") for word in part.split()]
    if not 1 <= len(words) <= 20:
        raise BadConfig(f"--for takes 1 to 20 words, such as --for 'goal, match, striker'; these are {len(words)}.")
    with Status() as status:
        from hooke.propose import candidates, propose, tokens_for
        from hooke.sae import Sae

        own = Sae.from_pretrained(sae)
        atlas.check(own)
        loaded = model_for([own], model, status)
        tokens, maximum = tokens_for(loaded, words), atlas.table(sae).max
        chosen = [*candidates(loaded, own, maximum, tokens, _BY_DIRECTION), *_by_effect(atlas, sae, tokens), *_by_name(atlas, sae, words)]
        told = lambda done, total: status.count(f"Measuring: {done} of {total} steps")  # noqa: E731
        found = propose(loaded, own, maximum, tokens, chosen, progress=told)
    return Proposals(words, sae, loaded.name, found)


def _by_effect(atlas: "Atlas", sae: str, tokens: "Sequence[int]") -> list[int]:
    """Features whose measured effect raises one of `tokens`, those that give them most first."""
    found = {
        index: sum(moved.after - moved.before for moved in effect.full.raised if moved.token in tokens)
        for index, effect in atlas.effects(sae, tokens).items()
    }
    return [index for index in sorted(found, key=lambda i: -found[i]) if found[index] > 0][:_BY_EFFECT]


def _by_name(atlas: "Atlas", sae: str, words: "Sequence[str]") -> list[int]:
    from hooke.atlas.search import Filters

    hits = atlas.search(" ".join(words), filters=Filters(sae=(sae,)), where=("label",), limit=_BY_NAME).hits
    return [int(hit.name.rpartition("/")[2]) for hit in hits]


def show(atlas: "Atlas", found: Proposals, *, as_json: bool) -> None:
    """The best of them, in a terminal or as JSON."""
    titles = {one.feature: atlas.feature(f"{found.sae}/{one.feature}").title for one in found.proposals[:_SHOWN]}
    if as_json:
        rows: list[dict[str, Any]] = [
            asdict(one) | {"feature": f"{found.sae}/{one.feature}", "title": titles[one.feature]} for one in found.proposals[:_SHOWN]
        ]
        print_line({"schema_version": _SCHEMA, "model": found.model, "words": found.words, "proposals": rows})
        return
    from hooke.report.proposals_terminal import print_proposals

    print_proposals(found.words, found.sae, found.proposals[:_SHOWN], titles, console_for())
