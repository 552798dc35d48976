"""`hooke explain`: names for features by a reader, and how well they hold."""

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.explain_task import NOBODY, How, Reading, Task
from hooke.cli.options import AtlasFile, Json, Seed
from hooke.cli.output import console_for, print_line, print_text
from hooke.cli.values import BATCH
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.explain.llm.words import Heard


def explain(
    *sae: Annotated[str, Parameter(help="Names of SAEs (see `hooke saes`).")],
    atlas: AtlasFile = None,
    features: Annotated[str | None, Parameter(help="Which features, such as 0-99,256; by default all.")] = None,
    sample: Annotated[int | None, BATCH, Parameter(help="So many of them, drawn by lot.")] = None,
    seed: Annotated[Seed, Parameter(help="Decides that lot.")] = 0,
    score: Annotated[bool, Parameter(help="Try names instead of making them: can a reader tell by them where features fire?")] = False,
    check: Annotated[
        bool,
        Parameter(help="List names that quote a word which their feature hardly fires on; a reader names these anew."),
    ] = False,
    marks: Annotated[bool, Parameter(help="Have names judged beside the texts of --on; learn how likely each is right of a text.")] = False,
    words: Annotated[bool, Parameter(help="With --marks: behind the words that names are shown behind, not beside whole texts.")] = False,
    embed: Annotated[bool, Parameter(help="Ask nobody: score the names there are by a sentence encoder, hooke[semantic].")] = False,
    on: Annotated[
        str | None,
        Parameter(help="A file of texts: names are made with them in view, with --score tried beside them, with --check held up to them."),
    ] = None,
    against: Annotated[str, Parameter(help="With --score, what features are called: their name, the rule, or shuffled names.")] = "name",
    out: Annotated[Path | None, Parameter(help="The file of names; by default where every command looks.")] = None,
    reading: Reading = NOBODY,
    where: Engine = HERE,
    json: Json = False,
) -> int | None:
    """Name features by letting a language model, or anybody, read where they fire; try names on text that was held out."""
    from hooke.cli.atlases import find_sae, open_atlases, opened_by
    from hooke.cli.stopping import stoppable

    if not sae or not all(sae):
        raise BadConfig("no SAE to explain. Name one (see `hooke saes`): hooke explain gemma-3-270m/resid_post.12/8k --batch-out FILE")
    opened = open_atlases(atlas)
    found = [find_sae(name, opened) for name in sae]
    tasks = [(home, name, opened_by(name, sae)) for home, name in found]
    from hooke.text.arguments import texts_from

    mode = _mode(score=score, check=check, marks=marks, embed=embed)
    _check(mode, against, reading, on=on is not None, words=words)
    _check_engine(where, reading)
    if len(sae) > 1 and (out or reading.later):
        raise BadConfig("--out and batch files are of one SAE each; name one SAE.")
    how = How(reading, reading.spendable(), tuple(texts_from([on])) if on is not None else (), where)
    halt = threading.Event()
    with stoppable(halt.set) as stop:
        for task in tasks:
            one = Task(*task, how, halt, out)
            by_answers = features is None and sample is None and mode != "marks"
            chosen = one.chosen(features, sample, seed, _batch_features(reading.batch_in) if by_answers else None)
            tried = one.use if on is not None else partial(one.score, against=against, seed=seed)
            does = {"name": one.name, "score": tried, "check": one.check, "marks": partial(one.mark, words=words), "embed": one.embed}
            _tell(does[mode](chosen), as_json=json)
    return stop.exit_code if stop else None


def _mode(**asked: bool) -> str:
    """What is to be done: one of what was asked for, else to name."""
    found = [name for name, wanted in asked.items() if wanted]
    if len(found) > 1:
        raise BadConfig(f"--{' and --'.join(found)} are different things to do: give one of them.")
    return found[0] if found else "name"


def _check(mode: str, against: str, reading: Reading, *, on: bool, words: bool) -> None:
    """Refuse what cannot go together."""
    from hooke.explain.llm.detection import WORDINGS

    if against not in WORDINGS:
        raise BadConfig(f"--against {against} is none of {', '.join(WORDINGS)}.")
    if mode == "embed" and (reading.endpoint or reading.later):
        raise BadConfig("--embed asks nobody; leave out --endpoint and batch files.")
    if words and mode != "marks":
        raise BadConfig("--words says what --marks has judged; give both.")
    if mode == "marks" and not on:
        raise BadConfig("--marks puts names beside short texts: give a file of such with --on FILE (titles, first sentences).")
    if on and (mode == "embed" or against != "name"):
        raise BadConfig("--on shows texts to whoever names or tries names; leave out --embed and --against.")
    if reading.endpoint and reading.later:
        raise BadConfig("--endpoint asks at once and batch files ask later: give one or the other.")
    if reading.endpoint and not reading.budget:
        raise BadConfig("say what may be spent: --budget 500k (tokens; a service of your own counts too), or --budget 2usd with --price.")


def _check_engine(where: Engine, reading: Reading) -> None:
    if where.engine != "here" and not reading.endpoint:
        raise BadConfig("--engine is for asking at once: its processes put the requests to --endpoint. Give that as well.")
    where.home("cpu", "auto")


def _batch_features(paths: Sequence[Path]) -> list[int] | None:
    from hooke.explain.llm.request import features_in, read_batch

    return sorted({index for path in paths for index in features_in(read_batch(path))}) if paths else None


def _tell(summary: dict[str, Any], *, as_json: bool) -> None:
    from hooke.files import plain

    belied, learnt = summary.get("belied"), summary.get("learnt")
    if as_json:
        rows = {} if belied is None else {"belied": [_row(own) for own in belied]}
        known = {key: plain(getattr(learnt, key)) for key in _LEARNT} if learnt else None
        return print_line(summary | rows | ({"learnt": known} if "learnt" in summary else {}))
    from hooke.report.names_terminal import print_belied, print_learnt

    if belied:
        print_belied(belied, console_for())
    if learnt:
        print_learnt(learnt, console_for())
    return print_text(", ".join(_parts(summary)) + f". Names: {summary['names']}")


def _parts(summary: dict[str, Any]) -> Iterator[str]:
    """What became of an SAE's features, in pieces of a sentence."""
    yield f"{summary['sae']}: {summary['features']:,} features"
    if "belied" in summary:
        yield f"of {summary['checked']:,} names that quote what they fire on {len(summary['belied']):,} hold for less than half of it"
        if summary["unknown"]:
            yield f"of {summary['unknown']:,} others the atlas keeps too little to say"
    if "named" in summary:
        yield f"{summary['named']:,} named, {summary['unclear']:,} unclear"
    if "detection" in summary:
        yield (
            f"by their {summary['against']} {summary['scored']:,} detected with {summary['detection']:.3f}"
            f" ({summary['low']:.3f} to {summary['high']:.3f}; 0.5 is chance)"
        )
    if "tried" in summary:
        found = f"{summary['scored']:,} names tried, true of {summary['right']:,} of {summary['tried']:,} texts beside them"
        yield f"{found}, {summary['telling']:,} of them telling"
    if "marks" in summary:
        where = "beside" if "learnt" in summary else "behind words of"
        yield f"{summary['marks']:,} marks of names {where} {summary['texts']:,} texts"
        yield from (f"{count:,} {value}" for value, count in summary["said"].items())
        if summary.get("learnt"):
            yield f"how likely names are right is kept in {summary['likelihood']}" if summary["likelihood"] else _NO_BETTER
    if "open" in summary:
        yield f"{summary['open']:,} requests open"
    elif "embedding" in summary:
        yield f"{summary['scored']:,} names tell their texts from near misses with {summary['embedding']:.3f} (0.5 is chance)"
    elif "belied" not in summary:
        yield "none of their names has texts enough in this atlas to be scored"


_LEARNT = ("texts", "marks", "calibration", "before", "after", "better")
_NO_BETTER = "what was learnt says no more than the share of names that are right, and is not kept: have more texts judged"


def _row(own: "Heard") -> dict[str, Any]:
    """A name that its words belie, as `--json` has it."""
    shares = {
        key: None if value is None else round(value, 3) for key in ("share", "of_places", "of_activation") for value in [getattr(own, key)]
    }
    words = [{"word": word, "count": count} for word, count in own.words]
    return {"feature": own.feature, "name": own.name, **shares, "places": own.places, "right": own.right, "words": words}
