"""`hooke explain`: names for features by a reader, and how well they hold."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.output import console_for, print_line, talk
from hooke.cli.progress import ProgressBar
from hooke.cli.values import BATCH, FEW, SEED
from hooke.errors import BadConfig, LimitReached, Missing

if TYPE_CHECKING:
    from hooke.atlas import Atlas, Name
    from hooke.explain.llm.asking import Asked
    from hooke.explain.llm.endpoint import Budget
    from hooke.explain.llm.use import Shown

_READER = "reader"


@dataclass(frozen=True)
class _How:
    """Who reads and how."""

    endpoint: str | None
    model: str
    budget: "Budget | None"
    key_env: str
    parallel: int
    batch_out: Path | None
    batch_in: tuple[Path, ...]
    on: tuple[str, ...]
    quiet: bool
    where: Engine


def explain(
    *sae: Annotated[str, Parameter(help="Names of SAEs (see `hooke saes`).")],
    atlas: Annotated[Path | None, Parameter(help="The atlas with their contexts; by default those at hand.")] = None,
    features: Annotated[str | None, Parameter(help="Which features, such as 0-99,256; by default all.")] = None,
    sample: Annotated[int | None, BATCH, Parameter(help="So many of them, drawn by lot.")] = None,
    seed: Annotated[int, SEED, Parameter(help="Decides that lot.")] = 0,
    endpoint: Annotated[str | None, Parameter(help="Base URL of an OpenAI-compatible chat service that reads.")] = None,
    model_name: Annotated[str, Parameter(help="The model to ask there; of batches, who reads.")] = _READER,
    budget: Annotated[str | None, Parameter(help="What may be spent at most: tokens (500k), or dollars (2usd) with --price.")] = None,
    price: Annotated[str | None, Parameter(help="Dollars per million tokens read and written, such as 0.15/0.60.")] = None,
    key_env: Annotated[str, Parameter(help="Environment variable that holds the key.")] = "OPENAI_API_KEY",
    parallel: Annotated[int, FEW, Parameter(help="Requests under way at a time.")] = 4,
    batch_out: Annotated[Path | None, Parameter(help="Write the requests to this file (OpenAI Batch JSON Lines) and ask nobody.")] = None,
    batch_in: Annotated[tuple[Path, ...], Parameter(negative="", help="Read answers from this file.")] = (),
    score: Annotated[
        bool, Parameter(negative="", help="Try names instead of making them: can a reader tell by them where features fire?")
    ] = False,
    embed: Annotated[
        bool, Parameter(negative="", help="Ask nobody: score the names there are by a sentence encoder, hooke[semantic].")
    ] = False,
    on: Annotated[
        str | None, Parameter(help="A file of short texts: names are made with them in view, with --score tried as people would read them.")
    ] = None,
    against: Annotated[str, Parameter(help="With --score, what features are called: their name, the rule, or shuffled names.")] = "name",
    out: Annotated[Path | None, Parameter(help="The file of names; by default where every command looks.")] = None,
    where: Engine = HERE,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print a summary as one JSON document.")] = False,
) -> int | None:
    """Name features by letting a language model, or anybody, read where they fire; try names on text that was held out."""
    from hooke.cli.atlases import open_atlases
    from hooke.cli.stopping import stoppable

    if not sae:
        raise BadConfig("no SAE to explain. Name one (see `hooke saes`): hooke explain gemma-3-270m/resid_post.12/4k --batch-out FILE")
    opened = open_atlases(atlas)
    tasks = [_found(name, opened) for name in sae]
    from hooke.explain.llm.endpoint import Budget, Price
    from hooke.text.arguments import texts_from

    batches = bool(batch_out or batch_in)
    _check(against, embed=embed, score=score, at_once=endpoint is not None, later=batches, on=on is not None, budget=budget is not None)
    _check_engine(where, endpoint)
    if len(sae) > 1 and (out or batches):
        raise BadConfig("--out and batch files are of one SAE each; name one SAE.")
    if parallel < 1 or (sample is not None and sample < 1):
        raise BadConfig(f"--parallel {parallel} and --sample {sample} must be at least 1.")
    beside = tuple(texts_from([on])) if on is not None else ()
    own = None if budget is None else Budget(budget, Price.parse(price) if price else None)
    how = _How(endpoint, model_name, own, key_env, parallel, batch_out, batch_in, beside, json, where)
    halt = threading.Event()
    with stoppable(halt.set) as stop:
        for task in tasks:
            one = _Task(*task, how, halt, out)
            chosen = one.chosen(features, sample, seed, _batch_features(batch_in) if features is None and sample is None else None)
            used = one.use if on is not None else partial(one.score, against=against, seed=seed)
            _tell((one.embed if embed else used if score else one.name)(chosen), as_json=json)
    return stop.exit_code if stop else None


def _check(against: str, *, embed: bool, score: bool, at_once: bool, later: bool, on: bool, budget: bool) -> None:
    """Refuse what cannot go together: questions asked `at_once` or `later`, by batch files, and what is to be asked."""
    from hooke.explain.llm.detection import WORDINGS

    if against not in WORDINGS:
        raise BadConfig(f"--against {against} is none of {', '.join(WORDINGS)}.")
    if embed and (score or at_once or later):
        raise BadConfig("--embed asks nobody; leave out --score, --endpoint and batch files.")
    if on and (embed or against != "name"):
        raise BadConfig("--on shows texts to whoever names or tries names; leave out --embed and --against.")
    if at_once and later:
        raise BadConfig("--endpoint asks at once and batch files ask later: give one or the other.")
    if at_once and not budget:
        raise BadConfig("say what may be spent: --budget 500k (tokens; a service of your own counts too), or --budget 2usd with --price.")


def _check_engine(where: Engine, endpoint: str | None) -> None:
    if where.engine != "here" and endpoint is None:
        raise BadConfig("--engine is for asking at once: its processes put the requests to --endpoint. Give that as well.")
    where.home("cpu", "auto")


class _Task:
    """One SAE of one atlas, and who reads."""

    def __init__(self, atlas: "Atlas", sae: str, how: _How, halt: threading.Event, out: Path | None) -> None:
        from hooke.explain.llm import Names

        if not atlas.saes[sae].digest:
            raise BadConfig(f"{atlas.path} does not say which weights {sae} has, to which names belong. Build it anew: hooke atlas build.")
        self.atlas, self.sae, self.how, self.halt = atlas, sae, how, halt
        self.names: Names = Names(atlas, sae, how.model, out)

    def chosen(self, features: str | None, sample: int | None, seed: int, answered: list[int] | None) -> list[int]:
        """The features that are meant: those asked for, those answered about, or all; a sample only of such as fire."""
        import random

        from hooke.explain.llm.request import chosen_features

        size = self.atlas.saes[self.sae].d_sae
        found = chosen_features(features, size) if features is not None else list(range(size))
        if answered is not None:
            found = [index for index in answered if index < size]
        if sample is None:
            return found
        largest = self.atlas.table(self.sae).max
        alive = [index for index in found if largest[index] > 0]
        return sorted(random.Random(seed).sample(alive, min(sample, len(alive))))  # noqa: S311 (no secret)

    def name(self, features: Sequence[int]) -> dict[str, Any]:
        """Names for `features`, as far as they come; what became of it."""
        from hooke.explain.llm.naming import requests

        asked, known = requests(self.atlas, self.sae, features, self.how.model, self._shown())
        with self.names.ledger.opened():
            naming = self.names.naming(asked)
            try:
                self._answer(naming)
            finally:
                found = self.names.named(naming, known)
        self._embed(found)
        unclear = sum(name.about == "unclear" for name in found.values())
        return self._summary(features, naming) | {"named": len(found) - unclear, "unclear": unclear}

    def score(self, features: Sequence[int], against: str, seed: int) -> dict[str, Any]:
        """How well a reader tells by what `features` are called where they fire."""
        from hooke.explain.llm import detected
        from hooke.explain.llm.detection import mean_with_interval, trials, wordings

        called = wordings(features, against, self.names.all, self.atlas.table(self.sae).label, seed)
        if not called:
            raise Missing(f"none of these features of {self.sae} has a {against} to try. Name them first: hooke explain without --score.")
        made = trials(self.atlas, self.sae, called, self.how.model)
        if not made:
            raise BadConfig(
                f"{self.atlas.path} keeps too few held-out places of these {len(called):,} features to try a name on. Build a full atlas"
                f" (hooke atlas build {self.sae} --corpus FILE --examples 40 --out FILE) and give it with --atlas FILE."
            )
        with self.names.ledger.opened():
            asked = self.names.detection(made)
            try:
                self._answer(asked)
            finally:
                scores = detected(made, asked)
                if against == "name":
                    self.names.scored(scores)
        summary = self._summary(features, asked) | {"against": against, "scored": len(scores)}
        if scores:
            mean, low, high = mean_with_interval([score.value for score in scores.values()])
            summary |= {"detection": round(mean, 4), "low": round(low, 4), "high": round(high, 4)}
        return summary

    def use(self, features: Sequence[int]) -> dict[str, Any]:
        """Of how many short texts the names of `features` are true, among those that they would be read beside."""
        from hooke.explain.llm.use import trials

        called = {i: self.names.all[i].name for i in features if i in self.names.all and self.names.all[i].name}
        if not called:
            raise Missing(f"none of these features of {self.sae} has a name to try. Name them first: hooke explain without --score.")
        made = trials(called, self._shown(), self.how.model, self.names.entry.digest)
        with self.names.ledger.opened():
            asked = self.names.use(made.values())
            try:
                self._answer(asked)
            finally:
                found = self.names.used(asked)
        right, tried, telling = (sum(getattr(name, key) for name in found.values()) for key in ("right", "tried", "telling"))
        return self._summary(features, asked) | {"scored": len(found), "right": right, "tried": tried, "telling": telling}

    def _shown(self) -> "dict[int, list[Shown]]":
        """The texts of `--on` beside which each feature stands out."""
        if not self.how.on:
            return {}
        from hooke.analysis import Options, Reader
        from hooke.explain.llm.use import Shown

        model = str(self.atlas.facts.get("model"))
        reader = Reader.load(model, [self.sae], Options(top=_BESIDE), progress=talk, atlas=self.atlas.path)
        found: dict[int, list[Shown]] = {}
        for result in reader.read(self.how.on):
            for hit in {hit.index: hit for hit in (*result.about, *result.words)}.values():
                found.setdefault(hit.index, []).append(Shown(result.text, hit.relative, hit.token))
        return found

    def _answer(self, asked: "Asked[Any]") -> None:
        """Get answers in the way that was asked for."""
        from hooke.explain.llm.request import read_batch, told_apart, write_batch

        how = self.how
        for path in how.batch_in:
            fitting, wrong = told_apart(path, read_batch(path), asked.requests.values())
            for line in wrong:
                talk(f"left out, {line}")
            self.names.take(fitting)
        waiting = asked.open()
        if how.batch_out is not None:
            write_batch(how.batch_out, waiting)
            talk(f"{len(waiting):,} requests written to {how.batch_out}, {_tokens(waiting)}. Answers are read with --batch-in FILE.")
        elif how.endpoint is not None and waiting:
            self._ask(asked, waiting)
        elif waiting and not how.batch_in:
            raise BadConfig(
                f"nobody to read: {len(waiting):,} requests, {_tokens(waiting)}. Give --endpoint URL --model-name MODEL --budget 500k, or "
                "--batch-out FILE to write the requests for any reader."
            )

    def _ask(self, asked: "Asked[Any]", waiting: Sequence[Any]) -> None:
        from hooke.explain.llm.endpoint import Endpoint

        how, budget = self.how, self.how.budget
        assert how.endpoint is not None
        assert budget is not None
        likely = budget.cost(sum(request.tokens for request in waiting), len(waiting) * _ANSWER)
        talk(f"{len(waiting):,} requests to {how.model}, {_tokens(waiting)}: about {budget.shown(likely)} of {budget.shown(budget.most)}.")
        opened = partial(Endpoint, how.endpoint, how.model, key_env=how.key_env)
        endpoint = opened(wait=self.halt.wait)
        try:
            with how.where.joined("cpu") as cluster, ProgressBar(console_for(stderr=True)).begin(len(waiting), "requests") as bar:
                if cluster is not None:
                    asked.ask_spread(cluster, opened, budget, self.halt, lambda done, _: bar.move(done))
                else:
                    asked.ask(endpoint, budget, parallel=how.parallel, halt=self.halt, progress=lambda done, _: bar.move(done))
        except LimitReached as error:
            raise LimitReached(f"{error}; {len(asked.open()):,} requests are open. The same command with a new budget goes on.") from error
        finally:
            endpoint.close()
            talk(f"spent {budget.shown(budget.spent)}")

    def embed(self, features: Sequence[int]) -> dict[str, Any]:
        """Scores by the sentence encoder for the names that `features` have, and their mean."""
        from hooke.text.meaning import encoder_folder

        encoder_folder()  # `Missing` before anything else
        named = {index: self.names.all[index] for index in features if index in self.names.all}
        if not any(name.name for name in named.values()):
            raise Missing(f"none of these features of {self.sae} has a name. Name them first: hooke explain without --embed.")
        self._embed(named)
        scores = [score for index in named if (score := self.names.all[index].embedding) is not None]
        mean = {"embedding": round(sum(scores) / len(scores), 4)} if scores else {}
        return {"sae": self.sae, "features": len(features), "scored": len(scores), **mean, "names": str(self.names.path)}

    def _embed(self, found: "Mapping[int, Name]") -> None:
        """The score that needs no reader, for names that have none, where an encoder is installed."""
        from hooke.explain.llm.embedding import embedding_scores
        from hooke.text.meaning import encoder_folder

        try:
            encoder_folder()
        except Missing:
            return
        fresh = {index: name.name for index, name in found.items() if name.name and name.embedding is None}
        if fresh and not self.halt.is_set():
            with ProgressBar(console_for(stderr=True)).begin(len(fresh), "names") as bar:
                self.names.embedded(embedding_scores(self.atlas, self.sae, fresh, lambda done, _: bar.move(done)))

    def _summary(self, features: Sequence[int], asked: "Asked[Any]") -> dict[str, Any]:
        return {
            "sae": self.sae,
            "features": len(features),
            "requests": len(asked.requests),
            "open": len(asked.open()),
            "names": str(self.names.path),
        }


_BESIDE = 8
"""A feature counts as read beside a text where it is among so many first of either list."""
_ANSWER = 50
"""Tokens that an answer has, about."""


def _found(name: str, opened: Sequence["Atlas"]) -> "tuple[Atlas, str]":
    from hooke.errors import unknown

    for atlas in opened:
        if name in atlas.saes:
            return atlas, name
    raise unknown("SAE", name, {known for atlas in opened for known in atlas.saes}, "An atlas elsewhere is given with --atlas FILE.")


def _batch_features(paths: Sequence[Path]) -> list[int] | None:
    from hooke.explain.llm.request import features_in, read_batch

    return sorted({index for path in paths for index in features_in(read_batch(path))}) if paths else None


def _tokens(requests: Sequence[Any]) -> str:
    return f"about {sum(request.tokens for request in requests):,} tokens to read and {len(requests) * _ANSWER:,} to write"


def _tell(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_line(summary)
    parts = [f"{summary['sae']}: {summary['features']:,} features"]
    if "named" in summary:
        parts.append(f"{summary['named']:,} named, {summary['unclear']:,} unclear")
    if "detection" in summary:
        parts.append(
            f"by their {summary['against']} {summary['scored']:,} detected with {summary['detection']:.3f}"
            f" ({summary['low']:.3f} to {summary['high']:.3f}; 0.5 is chance)"
        )
    if "tried" in summary:
        found = f"{summary['scored']:,} names tried, true of {summary['right']:,} of {summary['tried']:,} texts beside them"
        parts.append(f"{found}, {summary['telling']:,} of them telling")
    if "open" in summary:
        parts.append(f"{summary['open']:,} requests open")
    elif "embedding" in summary:
        parts.append(f"{summary['scored']:,} names tell their texts from near misses with {summary['embedding']:.3f} (0.5 is chance)")
    else:
        parts.append("none of their names has texts enough in this atlas to be scored")
    return console_for().print(", ".join(parts) + f". Names: {summary['names']}", highlight=False, soft_wrap=True, markup=False)
