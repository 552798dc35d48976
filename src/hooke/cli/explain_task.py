"""What `hooke explain` does with one SAE of one atlas: has names made, tried and looked at, by whoever reads."""

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.engines import Engine
from hooke.cli.output import talk
from hooke.cli.progress import ProgressBar
from hooke.cli.values import FEW
from hooke.errors import BadConfig, LimitReached, Missing

if TYPE_CHECKING:
    from hooke.analysis import Reader
    from hooke.atlas import Atlas, Name
    from hooke.explain.llm.asking import Asked
    from hooke.explain.llm.endpoint import Budget
    from hooke.explain.llm.use import Shown
    from hooke.explain.llm.words import Heard
    from hooke.model import Model

_BESIDE = 8
"""A feature counts as read beside a text where it is among so many first of either list."""
_ANSWER = 50
"""Tokens that an answer has, about."""


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """Options that say who reads, and what that may cost."""

    endpoint: Annotated[str | None, Parameter(help="Base URL of an OpenAI-compatible chat service that reads.")] = None
    model_name: Annotated[str, Parameter(help="The model to ask there; of batches, who reads.")] = "reader"
    budget: Annotated[str | None, Parameter(help="What may be spent at most: tokens (500k), or dollars (2usd) with --price.")] = None
    price: Annotated[str | None, Parameter(help="Dollars per million tokens read and written, such as 0.15/0.60.")] = None
    key_env: Annotated[str, Parameter(help="Environment variable that holds the key.")] = "OPENAI_API_KEY"
    parallel: Annotated[int, FEW, Parameter(help="Requests under way at a time.")] = 4
    batch_out: Annotated[Path | None, Parameter(help="Write the requests to this file (OpenAI Batch JSON Lines) and ask nobody.")] = None
    batch_in: Annotated[tuple[Path, ...], Parameter(help="Read answers from this file.")] = ()

    @property
    def later(self) -> bool:
        """Whether questions and answers go by files."""
        return bool(self.batch_out or self.batch_in)

    def spendable(self) -> "Budget | None":
        """What may be spent; None where nothing was said of it."""
        from hooke.explain.llm.endpoint import Budget, Price

        return None if self.budget is None else Budget(self.budget, Price.parse(self.price) if self.price else None)


NOBODY = Reading()
"""Nobody reads."""


@dataclass(frozen=True)
class How:
    """Who reads, and what they are shown."""

    reading: Reading
    budget: "Budget | None"
    """What is left of it is for all SAEs together."""
    on: tuple[str, ...]
    """The texts of `--on`."""
    where: Engine


class Task:
    """One SAE of one atlas, and who reads."""

    def __init__(self, atlas: "Atlas", sae: str, weights: str, how: How, halt: threading.Event, out: Path | None) -> None:
        from hooke.explain.llm import Names

        if not atlas.saes[sae].digest:
            raise BadConfig(f"{atlas.path} does not say which weights {sae} has, to which names belong. Build it anew: hooke atlas build.")
        self.atlas, self.sae, self.weights, self.how, self.halt = atlas, sae, weights, how, halt
        self.names: Names = Names(atlas, sae, how.reading.model_name, out)

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

    def name(self, features: Sequence[int], belied: Mapping[int, str] | None = None) -> dict[str, Any]:
        """Names for `features`, as far as they come; what became of it. `belied` has what is wrong with the names of before."""
        from hooke.explain.llm.naming import requests

        shown = self._shown() if belied is None else {}
        asked, known = requests(self.atlas, self.sae, features, self.how.reading.model_name, shown, belied)
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
        with self.names.ledger.opened():
            made = trials(self.atlas, self.sae, called, self.how.reading.model_name, self._answered())
            if not made:
                raise BadConfig(
                    f"{self.atlas.path} keeps too few held-out places of these {len(called):,} features to try a name on. Build a full "
                    f"atlas (hooke atlas build {self.sae} --corpus FILE --examples 40 --out FILE) and give it with --atlas FILE."
                )
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
        made = trials(called, self._shown(), self.how.reading.model_name, self.names.entry.digest)
        with self.names.ledger.opened():
            asked = self.names.use(made.values())
            try:
                self._answer(asked)
            finally:
                found = self.names.used(asked)
        right, tried, telling = (sum(getattr(name, key) for name in found.values()) for key in ("right", "tried", "telling"))
        return self._summary(features, asked) | {"scored": len(found), "right": right, "tried": tried, "telling": telling}

    def check(self, features: Sequence[int]) -> dict[str, Any]:
        """Of `features` those whose names quote words that they hardly fire on; where somebody reads, new names for them."""
        from hooke.explain.llm.words import complaint, heard, quoted

        named = {i: self.names.all[i].name for i in features if i in self.names.all and quoted(self.names.all[i].name)}
        if not named:
            raise Missing(f"none of these features of {self.sae} has a name that quotes a word it fires on: there is nothing to check.")
        counted, looked = self._counted(named), list["Heard"]()
        with ProgressBar().begin(len(named), "names") as bar:
            for done, (index, name) in enumerate(named.items()):
                bar.move(done)
                own = heard(self.atlas.feature(f"{self.sae}/{index}"), index, name, counted.get(index))
                assert own is not None
                looked.append(own)
        belied = {own.feature: own for own in sorted(looked, key=lambda own: (own.share or 0.0, own.feature)) if own.belied}
        said = {"checked": len(named), "unknown": sum(own.share is None for own in looked), "belied": list(belied.values())}
        if not belied or not (self.how.reading.later or self.how.reading.endpoint):
            return {"sae": self.sae, "features": len(features), "names": str(self.names.path)} | said
        return self.name(sorted(belied), {index: complaint(own) for index, own in belied.items()}) | said

    def mark(self, features: Sequence[int], *, words: bool) -> dict[str, Any]:
        """Have the names of `features` judged beside the texts of `--on`, and learn from all marks how likely each is right of a text; or
        `words`, behind the words of those texts. What was said counts as tries of the names."""
        from hooke.analysis.marking import digest, keep_marks, kept_marks, to_judge, to_judge_behind, with_tries
        from hooke.explain.llm.marks import SAID, SAID_BEHIND, SYSTEM, SYSTEM_BEHIND, sheets

        asks, system, letters = (to_judge_behind, SYSTEM_BEHIND, SAID_BEHIND) if words else (to_judge, SYSTEM, SAID)
        texts, reader = list(dict.fromkeys(self.how.on)), self._reader(_BESIDE if words else 1)
        path, how = self.names.beside(".marks.jsonl"), self.how.reading
        said = kept_marks(path, reader)
        made = sheets(asks(reader, texts, set(features), said), how.model_name, self.names.entry.digest, system)
        with self.names.ledger.opened():
            asked = self.names.marks(made)
            try:
                if how.later or how.endpoint or not _counts(said.values(), letters):  # else what is there is counted and learnt from
                    self._answer(asked, "sheet")
            finally:
                for sheet in made:
                    for (text, index), value in zip(sheet.rows, asked.said(sheet.request) or (), strict=False):
                        said.setdefault(digest(text), {})[index] = value
                keep_marks(path, reader, said)
        marked = {text: own for text in texts if (own := said.get(digest(text)))}
        counts = _counts(marked.values(), letters)
        summary = self._summary(features, asked) | {"texts": len(texts), "marks": sum(counts.values()), "said": counts}
        if how.batch_out is None and not (how.batch_in and asked.open()):  # else the sheets that are open would be others
            self.names.judged(with_tries(self.names.all, marked.values()))
        if words:
            return summary
        return summary | {"learnt": None} | ({} if how.batch_out else self._learnt(reader, marked))

    def _learnt(self, reader: "Reader", marked: Mapping[str, Mapping[int, str]]) -> dict[str, Any]:
        """How likely names are right, learnt from what was said of them, and where it is kept; nothing where too little was said."""
        from hooke.analysis.likelihood import carried
        from hooke.analysis.marking import TooFew, learn

        try:
            learnt = learn(self._reader(model=reader.model), marked)  # names as they are tried now
        except TooFew as error:
            talk(str(error))
            return {}
        kept = self.names.beside(".likelihood")
        if learnt.better:
            learnt.likelihood.save(kept, self.names.entry)
            if carried(self.names.entry) is not None:
                talk(f"A pack brings a likelihood of these names, too; this one stands in its place until you remove {kept}.")
        return {"learnt": learnt, "likelihood": str(kept) if learnt.better else None}

    def _counted(self, features: Collection[int]) -> "dict[int, Counter[str]]":
        """On which words of the texts of `--on` features are clearly active."""
        if not self.how.on:
            return {}
        from hooke.analysis.fired_words import fired_words
        from hooke.explain.llm.sheet import CLEARLY

        largest = self.atlas.table(self.sae).max
        with ProgressBar().begin(len(self.how.on), "texts") as bar:
            return fired_words(self._reader(), self.how.on, {i: CLEARLY * float(largest[i]) for i in features if largest[i] > 0}, bar.move)

    def _reader(self, top: int = 1, model: "Model | None" = None) -> "Reader":
        from hooke.analysis import Options, Reader

        return Reader.load(str(self.atlas.facts.get("model")), [self.weights], Options(top=top), progress=talk, atlas=self.atlas.path)

    def _shown(self) -> "dict[int, list[Shown]]":
        """The texts of `--on` beside which each feature stands out."""
        if not self.how.on:
            return {}
        from hooke.explain.llm.use import Shown

        found: dict[int, list[Shown]] = {}
        for result in self._reader(_BESIDE).read(self.how.on):
            for hit in {hit.index: hit for hit in (*result.about, *result.words)}.values():
                found.setdefault(hit.index, []).append(Shown(result.text, hit.relative, hit.token))
        return found

    def _answer(self, asked: "Asked[Any]", what: str = "feature") -> None:
        """Get answers in the way that was asked for; `what` has a request's number."""
        from hooke.explain.llm.request import read_batch, told_apart, write_batch

        how = self.how.reading
        for path in how.batch_in:
            # Answers that were taken before may be about what is no longer asked.
            before = self.names.ledger.answers.keys() - asked.requests.keys()
            answers = {name: text for name, text in read_batch(path).items() if name not in before}
            fitting, wrong = told_apart(path, answers, asked.requests.values(), what)
            for line in wrong:
                talk(f"left out, {line}")
            self.names.take(fitting)
        if how.batch_in:
            for name, complaint in asked.invalid().items():
                talk(f"not valid, {name}: {complaint}.")
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

    def _answered(self) -> set[str]:
        """The ids of all requests that were answered, before or in the files that are to be read."""
        from hooke.explain.llm.request import read_batch

        return {*self.names.ledger.answers, *(name for path in self.how.reading.batch_in for name in read_batch(path))}

    def _ask(self, asked: "Asked[Any]", waiting: Sequence[Any]) -> None:
        from hooke.explain.llm.endpoint import Endpoint

        how, budget = self.how.reading, self.how.budget
        assert how.endpoint is not None
        assert budget is not None
        likely = budget.cost(sum(request.tokens for request in waiting), len(waiting) * _ANSWER)
        cost = f"about {budget.shown(likely)} of {budget.shown(budget.most)}"
        talk(f"{len(waiting):,} requests to {how.model_name}, {_tokens(waiting)}: {cost}.")
        opened = partial(Endpoint, how.endpoint, how.model_name, key_env=how.key_env)
        endpoint = opened(wait=self.halt.wait)
        try:
            with self.how.where.joined("cpu") as cluster, ProgressBar().begin(len(waiting), "requests") as bar:
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
            with ProgressBar().begin(len(fresh), "names") as bar:
                self.names.embedded(embedding_scores(self.atlas, self.sae, fresh, lambda done, _: bar.move(done)))

    def _summary(self, features: Sequence[int], asked: "Asked[Any]") -> dict[str, Any]:
        return {
            "sae": self.sae,
            "features": len(features),
            "requests": len(asked.requests),
            "open": len(asked.open()),
            "names": str(self.names.path),
        }


def _tokens(requests: Sequence[Any]) -> str:
    return f"about {sum(request.tokens for request in requests):,} tokens to read and {len(requests) * _ANSWER:,} to write"


def _counts(marked: Iterable[Mapping[int, str]], letters: Mapping[str, str]) -> dict[str, int]:
    """How often each of the values of `letters` was said; empty where none was."""
    counts = Counter(value for own in marked for value in own.values())
    return {value: counts[value] for value in letters.values()} if any(counts[value] for value in letters.values()) else {}
