"""Microscope: a model with its SAEs, reading texts for the page; every pass can be stopped between two layers."""

import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hooke.errors import BadConfig, unknown
from hooke.names import FeatureName, model_name
from hooke.text.marks import half_pair

if TYPE_CHECKING:
    from hooke.analysis import Reader, TextResult
    from hooke.atlas import Feature
    from hooke.codes import Codes
    from hooke.differences.grouping import Grouped
    from hooke.model import Model
    from hooke.sae import Sae
    from hooke.serve.shipped import ShippedReading

MAX_TEXTS, MAX_CHARACTERS, MAX_TOP, MAX_SAES = 2000, 200_000, 100, 16
"""The most texts, characters in all of them, features of each and SAEs that one request may ask for."""
_READERS = 8
PART = 2000
"""Characters from which on a text is read in parts, each by itself, so that the first shows while the rest is read."""


_WRITING, _MODULES, _OFTEN = "hooke.model.loading", 1850, 0.2
"""What loads what writes, about how many modules come with it, and after how many seconds each it is looked how many are there."""


class Cancelled(Exception):
    """Nobody wants the result any more."""


class Microscope:
    """A model and SAEs, ready."""

    def __init__(self, model: "Model", saes: "Sequence[Sae]", default: Sequence[str]) -> None:
        """`default` are the names of the SAEs to look through unless others are asked for."""
        self.model = model
        self.default = list(default)
        """Names of the SAEs that are used unless others are asked for."""
        self._saes = {sae.name: sae for sae in saes}
        self._readers: dict[tuple[tuple[str, ...], int], Reader] = {}
        self._shipped: dict[str, ShippedReading] = {}
        self._unwanted: Callable[[], bool] = lambda: False
        self._meanwhile: Callable[[str, Any], None] = lambda *_: None

    @classmethod
    def load(cls, model: str, saes: Sequence[str], progress: Callable[[str], None]) -> "Microscope":
        """The model and SAEs by name; without SAEs, every installed one of the model, of which one is the default."""
        from hooke.model import Model
        from hooke.sae import Sae
        from hooke.sae.packs import default_sae, installed_saes

        default = list(saes) or [default_sae(model)]
        names = list(saes) or [row.facts.name for row in installed_saes() if row.facts.model == model_name(model)]
        progress("loading the SAEs")
        opened = [Sae.from_pretrained(name, progress=progress) for name in names]
        progress("loading the model")
        microscope = cls(Model.load(model, progress=progress), opened, [sae.name for sae in opened][:1] if saes else default)
        progress("reading a first sentence")
        for _ in microscope.analyze(["The first sentence warms the model."], [], 24):
            pass
        return microscope

    @property
    def saes(self) -> list[str]:
        """Names of the SAEs at hand."""
        return list(self._saes)

    @contextmanager
    def stopping(self, unwanted: Callable[[], bool], meanwhile: Callable[[str, Any], None] = lambda *_: None) -> Iterator[None]:
        """Inside, the model raises `Cancelled` before its next layer once the work is `unwanted`.

        `meanwhile` is given the events of long work while it goes on, and may do other work of this microscope before it returns.
        """
        before = self._unwanted, self._meanwhile
        self._unwanted, self._meanwhile = unwanted, meanwhile
        looks = [block.register_forward_pre_hook(self.stop_if_unwanted) for block in self.model.blocks]
        try:
            yield
        finally:
            for look in looks:
                look.remove()
            self._unwanted, self._meanwhile = before

    def stop_if_unwanted(self, *_: Any) -> None:
        """Raise `Cancelled` where nobody wants the work under way."""
        if self._unwanted():
            raise Cancelled

    def tell(self, event: str, value: Any) -> None:
        """Hand on an event of work that is not done, and do what is short meanwhile; raises `Cancelled` where nobody wants it any more."""
        self.stop_if_unwanted()
        self._meanwhile(event, value)

    def whole(self) -> Iterator[tuple[str, Any]]:
        """Load what predicts and writes, which reading has no need of: ``loading`` with the ``share`` done, nothing once it is there.

        Most of it is a library being imported; what is short is done meanwhile.
        """
        if self.model.loaded:
            return
        before, importing = len(sys.modules), threading.Thread(target=import_module, args=(_WRITING,), daemon=True)
        importing.start()
        while importing.is_alive():
            self.tell("loading", {"share": round(min(0.9, (len(sys.modules) - before) / _MODULES), 2)})
            importing.join(_OFTEN)
        yield "loading", {"share": 0.95}
        _ = self.model.hf

    def tokenize(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text; special ones are left out."""
        tokenizer = self.model.tokenizer
        return [
            tokenizer.pieces([token for token in ids if token not in tokenizer.special], begins=True)
            for ids in tokenizer.encode(list(texts))
        ]

    def analyze(self, texts: Sequence[str], saes: Sequence[str], top: int) -> Iterator[tuple[str, Any]]:
        """``meta``, a ``text`` for each of `texts` as soon as it is read, and ``done`` with what they have in common.

        A text of more than `PART` characters comes as several ``text`` events, one for each ``part`` of its ``parts``.
        """
        from hooke.analysis import conclude

        reader = self._reader(tuple(saes or self.default), top)
        yield "meta", {"model": self.model.name, "saes": [labelled.sae.name for labelled in reader.labelled_saes], "texts": len(texts)}
        results: list[TextResult] = []
        owners: list[int] = []
        for index, text in enumerate(texts):
            parts = parted(text)
            for part, result in enumerate(reader.read(parts)):
                yield "text", {"index": index, "part": part, "parts": len(parts), "result": result}
                results.append(replace(result, text="", tokens=[]))
                owners.append(index)
        self.stop_if_unwanted()
        found = conclude(reader, results)
        topics = [asdict(topic) | {"texts": sorted({owners[i] for i in topic.texts})} for topic in found.topics]
        yield "done", {"model": found.model, "saes": found.saes, "topics": topics, "limits": found.limits}

    def compare(self, grouped: "Grouped", saes: Sequence[str], source: str | None, seed: int) -> Iterator[tuple[str, Any]]:
        """Groups of texts held against each other: ``able``, ``progress`` while it goes on, ``found`` with the `Differences`."""
        from hooke.analysis import Options, Reader
        from hooke.differences import compare
        from hooke.differences.assemble import detectable
        from hooke.differences.reading import REPORT_EVERY
        from hooke.report.differences_wording import ahead

        chosen = [self.sae(name) for name in saes or self.default]
        tests = sum(sae.d_sae for sae in chosen) * len(grouped.comparisons)
        groups = [{"name": name, "texts": int((grouped.group == i).sum())} for i, name in enumerate(grouped.names)]
        yield "able", {"able": ahead(detectable(grouped, tests), f"at most {tests:,} tests"), "groups": groups, "notes": grouped.notes}

        def told(said: str, done: int | None = None) -> None:
            self.tell("progress", {"said": said, "done": done, "of": len(grouped.texts)})

        reader = Reader(self.model, chosen, Options(chunk=REPORT_EVERY), told)
        yield "found", compare(reader, grouped, source=source, seed=seed, progress=told, read=lambda done: told("Reading", done))

    def activations(self, texts: Sequence[str], saes: Sequence[str], features: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Every activation on every token, or those of `features`: ``meta``, ``activations`` by part of a text and SAE, ``done``.

        ``feature[indptr[t]:indptr[t+1]]`` fire on token ``t``, with ``value`` beside them; what is past the model's context is left out.
        """
        wanted: dict[str, list[int]] = {}
        for name in map(FeatureName.parse, features):
            if not 0 <= name.index < self.sae(str(name.sae)).d_sae:
                raise unknown("feature", name.index, [], f"{name.sae} has {self.sae(str(name.sae)).d_sae:,}, counted from 0.")
            wanted.setdefault(str(name.sae), []).append(name.index)
        names = list(saes) or list(wanted) or self.default
        known = [self.sae(name) for name in names]
        yield "meta", {"model": self.model.name, "saes": names, "texts": len(texts)}
        for index, text in enumerate(texts):
            parts = parted(text)
            for part, piece in enumerate(parts):
                tokens, found = self._codes(piece, known)
                for name, codes in zip(names, found, strict=True):
                    rows = _rows(codes, wanted.get(name) if features else None)
                    yield "activations", {"index": index, "part": part, "parts": len(parts), "sae": name, "tokens": tokens, **rows}
        yield "done", {"model": self.model.name, "saes": names}

    def _codes(self, text: str, saes: "Sequence[Sae]") -> "tuple[list[str], list[Codes]]":
        """The tokens of a text, special ones left out, and what each SAE says of them."""
        import torch

        from hooke.metrics import concat_sites, not_sinks

        ids = torch.tensor(self.model.tokenizer.encode([text]))[:, : self.model.context]
        special = self.model.is_special(ids)[0]
        with torch.inference_mode():
            acts = self.model.capture(ids, list(dict.fromkeys(site for sae in saes for site in sae.facts.input_sites)))
            codes = []
            for sae in saes:
                rows = concat_sites(acts, sae.facts.input_sites)[0][~special].float()
                calm = not_sinks([acts[site] for site in sae.facts.input_sites], acts.keep)[0][~special]
                codes.append(sae.encode(rows).silenced(~calm))
        return self.model.tokenizer.pieces(ids[0][~special].tolist(), begins=True), codes

    def shipped(self, feature: "Feature") -> Iterator[tuple[str, Any]]:
        """What a feature does in the short texts that come with Hooke: ``progress`` the first time, ``found``."""
        from hooke.analysis import Options, Reader
        from hooke.serve.shipped import CHUNK, ShippedReading, shipped_texts

        name = str(FeatureName.parse(feature.name).sae)
        if name not in self._shipped:
            reader = Reader(self.model, [self.sae(name)], Options(chunk=CHUNK))
            self._shipped[name] = ShippedReading(reader, self.tokenize([text for text, _ in shipped_texts()]))
        for done in self._shipped[name].read():
            self.tell("progress", {"said": "Reading", "done": done, "of": len(shipped_texts())})
        yield "found", self._shipped[name].of(feature)

    def sae(self, name: str) -> "Sae":
        """The SAE called `name`. Raises `UnknownName` for one that is not at hand."""
        if name not in self._saes:
            raise unknown("SAE", name, self._saes, "`hooke serve --sae NAME` loads another.")
        return self._saes[name]

    def _reader(self, saes: tuple[str, ...], top: int) -> "Reader":
        from hooke.analysis import Options, Reader

        if (saes, top) not in self._readers:
            if len(self._readers) >= _READERS:
                self._readers.pop(next(iter(self._readers)))
            # One text at a time, so that each shows as soon as it is read.
            self._readers[saes, top] = Reader(self.model, [self.sae(name) for name in saes], Options(top=top, chunk=1))
        return self._readers[saes, top]


def _rows(codes: "Codes", features: Sequence[int] | None) -> dict[str, list[Any]]:
    """Codes as compressed sparse rows of plain numbers; of some features only, or of all."""
    import torch

    kept = torch.ones(len(codes.feature), dtype=torch.bool) if features is None else torch.isin(codes.feature, torch.tensor(features))
    before = torch.cat([torch.zeros(1, dtype=torch.int64), kept.cumsum(0)])
    values = [round(value, 3) for value in codes.value[kept].tolist()]
    return {"indptr": before[codes.indptr].tolist(), "feature": codes.feature[kept].tolist(), "value": values}


def parted(text: str) -> list[str]:
    r"""A text in pieces of at most `PART` characters that put together are the text, cut at a line's end or a space where there is one.

    >>> [len(part) for part in parted("a line\n" * 400)], "".join(parted("word " * 900)) == "word " * 900
    ([1995, 805], True)
    """
    cuts = [0]
    while len(text) - cuts[-1] > PART:
        last, least = cuts[-1] + PART, cuts[-1] + PART // 2
        cuts.append(next((at for at in (text.rfind("\n", least, last) + 1, text.rfind(" ", least, last)) if at > 0), last))
    return [text[low:high] for low, high in itertools.pairwise([*cuts, len(text)])]


def check_request(texts: Sequence[str], saes: Sequence[str], top: int) -> None:
    """Raise `BadConfig` where more is asked for than is done at one go."""
    asked = {"texts": (len(texts), MAX_TEXTS), "characters": (sum(map(len, texts)), MAX_CHARACTERS), "SAEs": (len(saes), MAX_SAES)}
    for what, (count, most) in asked.items():
        if count > most:
            raise BadConfig(f"{count:,} {what} were sent; at most {most:,} are read at one go. `hooke analyze FILE` reads any number.")
    if not texts:
        raise BadConfig("there is no text to read.")
    check_characters(*texts)
    if not 1 <= top <= MAX_TOP:
        raise BadConfig(f"top {top} cannot be; from 1 to {MAX_TOP} features are shown of each text.")


def check_characters(*texts: str) -> None:
    """Raise `BadConfig` where a text holds what is no character."""
    for text in texts:
        if (place := half_pair(text)) is not None:
            raise BadConfig(f"the text {text[:40]!r} holds half of a surrogate pair at place {place}, which is no character. Leave it out.")
