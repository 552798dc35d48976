"""Names by reading: a reader, any language model or person, sees where features fire and names them; names are tried on held-out text."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hooke.atlas import Atlas, Name, Score
from hooke.atlas.naming import MAX_READER, own_names, read_names, write_names
from hooke.explain.llm.answer import parse_detection, parse_name
from hooke.explain.llm.asking import ASKED, Asked
from hooke.explain.llm.detection import Trial
from hooke.explain.llm.ledger import Answer, Ledger
from hooke.explain.llm.marks import MarkSheet, parse_marks
from hooke.explain.llm.request import Request
from hooke.explain.llm.sheet import TRIED
from hooke.explain.llm.use import parse_use, texts_in
from hooke.text.marks import stripped

__all__ = ["Names", "detected"]
_NEVER_VALID = f"{ASKED} answers, none of them valid."
_SCORES = ("score", "low", "high", "n", "embedding", "right", "tried", "telling")


class Names:
    """The names of one SAE's features as they come to be: from answers kept in a ledger to the file that atlases read."""

    def __init__(self, atlas: Atlas, sae: str, reader: str, path: Path | None = None) -> None:
        """Names by `reader` for the SAE called `sae`, kept at `path`; by default where atlases look for them (`own_names`).

        The ledger of answers lies beside them. Raises `BadFile` for a file of names that is damaged.
        """
        self.entry = atlas.saes[sae]
        self.path = path or own_names(self.entry)
        self.reader = stripped(reader)[:MAX_READER]
        self.ledger = Ledger(self.beside(".answers.jsonl"))
        self._kept = (read_names(self.path, self.entry) or {}) if self.path.is_file() else {}
        self.all = atlas.names(sae) | self._kept
        """Every name that is known, by feature; those of a pack too."""

    def beside(self, ending: str) -> Path:
        """The file beside that of the names, called like it but for its `ending`."""
        return self.path.with_name(self.path.name.removesuffix(".zst").removesuffix(".jsonl") + ending)

    def naming(self, requests: Iterable[Request]) -> Asked[Name]:
        """`requests` with what was answered to them."""
        return Asked(requests, self.ledger, lambda _, text: parse_name(text))

    def detection(self, trials: Iterable[Trial]) -> Asked[tuple[int, ...]]:
        """The requests of `trials` with what was answered to them."""
        parse = parse_detection(TRIED)
        return Asked([trial.request for trial in trials], self.ledger, lambda _, text: parse(text))

    def use(self, requests: Iterable[Request]) -> Asked[tuple[tuple[int, ...], bool]]:
        """`requests` that try names on texts they would be read beside, with what was answered to them."""
        return Asked(requests, self.ledger, lambda _, text: parse_use(text))

    def marks(self, sheets: Iterable[MarkSheet]) -> Asked[list[str]]:
        """The requests of `sheets` with what was answered to them, line by line."""
        return Asked([sheet.request for sheet in sheets], self.ledger, parse_marks)

    def take(self, answers: Mapping[str, str]) -> None:
        """Put the answers of a batch, by request, into the ledger, but for empty ones and those that are there."""
        for name, text in answers.items():
            if text and text not in {known.text for known in self.ledger.answers.get(name, ())}:
                self.ledger.add(Answer(name, text))

    def named(self, asked: Asked[Name], known: Mapping[int, Name]) -> dict[int, Name]:
        """What came of `asked`, and `known` beside it, kept; a name that stays the same keeps its scores."""
        found = dict(known)
        for request in asked.requests.values():
            said = asked.said(request)
            if said is not None:
                found[request.feature] = replace(said, reader=self.reader)
            elif asked.given_up(request):
                found[request.feature] = Name("", "unclear", _NEVER_VALID, reader=self.reader)
        for index, name in found.items():
            before = self.all.get(index)
            if before is not None and before.name == name.name:
                found[index] = replace(name, **{key: getattr(before, key) for key in _SCORES})
        self._keep(found)
        return found

    def scored(self, scores: Mapping[int, Score]) -> None:
        """Keep how well names were detected."""
        self._keep(
            {
                i: replace(self.all[i], score=round(s.value, 4), low=round(s.low, 4), high=round(s.high, 4), n=s.positives + s.negatives)
                for i, s in scores.items()
            }
        )

    def used(self, asked: Asked[tuple[tuple[int, ...], bool]]) -> dict[int, Name]:
        """Keep of how many texts names were true, and whether they are telling; the names that were tried."""
        found = {}
        for request in asked.requests.values():
            if (said := asked.said(request)) is not None:
                right, telling = said
                tried = texts_in(request)
                own = self.all[request.feature]
                found[request.feature] = replace(own, right=sum(n <= tried for n in right), tried=tried, telling=telling)
        self._keep(found)
        return found

    def judged(self, names: Mapping[int, Name]) -> None:
        """Keep names with what marks say of them, as `hooke.analysis.marking.with_tries` has them."""
        self._keep(names)

    def embedded(self, scores: Mapping[int, float]) -> None:
        """Keep how near names are to their texts."""
        self._keep({index: replace(self.all[index], embedding=round(value, 4)) for index, value in scores.items()})

    def _keep(self, names: Mapping[int, Name]) -> None:
        if not names:
            return
        self.all |= names
        self._kept |= names
        write_names(self.path, self.entry, self._kept)


def detected(trials: Iterable[Trial], asked: Asked[tuple[int, ...]]) -> dict[int, Score]:
    """How right the answers to `trials` were, by feature; those without a valid answer are left out."""
    return {trial.request.feature: trial.score(said) for trial in trials if (said := asked.said(trial.request)) is not None}
