"""Atlas: one SQLite file with what is known of every feature: how often and how strongly it fires, on what, and its scored label."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from hooke.atlas import schema
from hooke.errors import BadFile, Missing, UnknownName, unknown
from hooke.files import atomic_write
from hooke.names import FeatureName

__all__ = ["BACKGROUND_STEPS", "NO_MEANING", "Atlas", "Example", "Feature", "FeatureRow", "FeatureTable", "SaeEntry", "relative_to"]

BACKGROUND_STEPS = 8
"""Background counts are kept of texts in which a feature reaches more than 0, 1/8, 2/8 ... 7/8 of its maximum."""
NO_MEANING = "no consistent meaning found"
"""The label of a feature that was looked at and resists a name."""
_MAX_PROFILE = 1 << 16


def relative_to(activation: np.ndarray, maximum: np.ndarray) -> np.ndarray:
    """Activations over their features' maxima; 0 for a feature that the atlas' corpus never drove: nothing is known of its scale."""
    return np.divide(activation, maximum, out=np.zeros(np.broadcast(activation, maximum).shape, np.float32), where=maximum > 0)


@dataclass(frozen=True)
class Example:
    """A stretch of text that a feature fired on."""

    before: str
    peak: str
    """The token it fired on most."""
    after: str
    activation: float
    source: str
    """Name of the corpus."""


@dataclass(frozen=True)
class Feature:
    """One feature, in full."""

    name: str
    """Address, ``sae/index``."""
    density: float
    """Share of tokens on which it fires."""
    max: float
    """Largest activation seen."""
    label: str | None
    """Short name."""
    rule: str | None
    """The kind of rule behind the label."""
    score: float | None
    """Balanced accuracy of that rule on held-out text; 0.5 is chance."""
    evidence: int
    """Held-out tokens behind the score."""
    words: list[str]
    """What the rule looks for."""
    examples: list[Example]
    """Where it fired most, strongest first, at most one per document."""
    outputs: list[str]
    """Tokens that its decoder row makes likelier, most first."""


@dataclass(frozen=True)
class FeatureTable:
    """All features of one SAE, as columns."""

    density: np.ndarray
    max: np.ndarray
    label: list[str | None]
    rule: list[str | None]
    score: list[float | None]
    evidence: np.ndarray
    background: np.ndarray
    """``[d_sae, BACKGROUND_STEPS]``: background texts in which the feature reaches more than each step of its maximum."""
    topics: np.ndarray
    """``[d_sae, topics]``: evidence for each topic, in nats, when the feature is fully active."""


@dataclass(frozen=True)
class SaeEntry:
    """One SAE in an atlas."""

    id: int
    name: str
    facts: dict[str, Any]
    """``tokens``, ``background_texts``, ``explained_short`` ... see `hooke.atlas.build`."""
    mean: np.ndarray
    """Mean activation at the site."""


class Atlas:
    """An open atlas. Reading only; `write` makes one."""

    def __init__(self, path: Path | str) -> None:
        """Open the file at `path`. Raises `BadFile` where it is no atlas or was made by a newer version."""
        self.path = Path(path)
        if not self.path.is_file():
            raise Missing(f"no atlas at {self.path}.")
        # immutable: a pack's folder may not be writable, and SQLite would otherwise want to put a lock beside the file.
        self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        with self._guard():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version != schema.VERSION:
                raise BadFile(f"{self.path} has atlas schema {version}; this version of Hooke reads {schema.VERSION}.")
            self.facts: dict[str, Any] = {key: json.loads(value) for key, value in self._db.execute(schema.GET_FACTS)}
            rows = self._db.execute(schema.GET_SAES).fetchall()
            self.saes = {name: SaeEntry(i, name, json.loads(facts), np.frombuffer(mean, np.float32)) for i, name, facts, mean in rows}

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, zstandard.ZstdError) as error:
            raise BadFile(f"{self.path} is not an atlas or is damaged: {error}.") from error

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def topics(self) -> list[str]:
        """Names of the topics, in the order of `FeatureTable.topics`."""
        return self.facts.get("topics", [])

    def _entry(self, sae: str) -> SaeEntry:
        if sae not in self.saes:
            raise unknown("SAE", sae, self.saes, f"These are in the atlas {self.path}.")
        return self.saes[sae]

    def table(self, sae: str) -> FeatureTable:
        """All features of the SAE called `sae`, as columns."""
        entry = self._entry(sae)
        with self._guard():
            columns = list(zip(*self._db.execute(schema.GET_TABLE, (entry.id,)), strict=True))
            if not columns:
                raise BadFile(f"{self.path} holds no feature of {sae}.")
            density, largest, label, rule, score, evidence, background, topics = columns
            n = len(density)
            return FeatureTable(
                np.array(density, np.float32),
                np.array(largest, np.float32),
                list(label),
                list(rule),
                list(score),
                np.array(evidence, np.int64),
                np.frombuffer(b"".join(background), np.uint16).reshape(n, BACKGROUND_STEPS).astype(np.float32),
                np.frombuffer(b"".join(topics), np.float16).reshape(n, len(self.topics)).astype(np.float32),
            )

    def feature(self, name: str | FeatureName) -> Feature:
        """Everything about one feature."""
        name = FeatureName.parse(name)
        entry = self._entry(str(name.sae))
        with self._guard():
            row = self._db.execute(schema.GET_FEATURE, (entry.id, name.index)).fetchone()
            if row is None:
                raise UnknownName(f"unknown feature {name.index} of {name.sae}: the atlas knows no such index.")
            density, largest, label, rule, score, evidence, blob = row
            profile = _profile(blob)
            examples = [Example(*example) for example in profile["examples"]]
            return Feature(str(name), density, largest, label, rule, score, evidence, profile["words"], examples, profile["outputs"])

    @staticmethod
    def write(path: Path, facts: Mapping[str, Any], saes: Iterable[tuple[SaeEntry, Iterable["FeatureRow"]]]) -> None:
        """Make an atlas at `path`, atomically; the same input gives the same bytes."""
        db = sqlite3.connect(":memory:")
        try:
            schema.migrate(db)
            db.executemany(schema.PUT_FACT, [(key, json.dumps(value, sort_keys=True)) for key, value in sorted(facts.items())])
            for entry, rows in saes:
                identity = (entry.name, json.dumps(entry.facts, sort_keys=True), entry.mean.astype(np.float32).tobytes())
                sae = db.execute(schema.PUT_SAE, identity).lastrowid
                db.executemany(schema.PUT_FEATURE, ((sae, *row.columns()) for row in rows))
            db.commit()
            db.execute("VACUUM")
            with atomic_write(path) as file:
                file.write(db.serialize())
        finally:
            db.close()


def _profile(blob: bytes) -> dict[str, Any]:
    # A frame says how large it will be, and the library believes it, whatever limit it is given.
    if zstandard.frame_content_size(blob) > _MAX_PROFILE:
        raise ValueError(f"a feature's examples unpack to more than {_MAX_PROFILE} bytes")
    return json.loads(zstandard.decompress(blob, max_output_size=_MAX_PROFILE))


@dataclass(frozen=True)
class FeatureRow:
    """One feature, ready to be written."""

    feature: Feature
    """What is known of it."""
    index: int
    """Its column in the codes."""
    background: np.ndarray
    """Its row of `FeatureTable.background`."""
    topics: np.ndarray
    """Its row of `FeatureTable.topics`."""

    def columns(self) -> tuple[Any, ...]:
        """The values of its row in the file."""
        f = self.feature
        profile = {"words": f.words, "examples": [list(asdict(example).values()) for example in f.examples], "outputs": f.outputs}
        blob = zstandard.compress(json.dumps(profile, ensure_ascii=False, separators=(",", ":")).encode(), 19)
        background = np.minimum(self.background, 65535).astype(np.uint16).tobytes()
        topics = self.topics.astype(np.float16).tobytes()
        return self.index, f.density, f.max, f.label, f.rule, f.score, f.evidence, background, topics, blob
