"""Plan: a whole run as a TOML file spells it: what to read, and which SAEs to train on it, side by side."""

import itertools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hooke.errors import BadConfig, BadFile, Missing, unknown
from hooke.names import SaeName, Site
from hooke.train.config import TrainConfig, fits, wording

_MAX_FILE = 1 << 20
VARIED = ("site", "architecture", "d_sae", "l0", "seed")
"""Keys of an ``[[sae]]`` table that may hold several values: the table stands for every combination."""
DERIVED = ("steps", "reads", "writes")
"""Settings of an SAE that follow from its run and its place."""
# More SAEs than this in one run are a slip in a list.
_MOST_SAES = 1000
# An SAE is not told to take more steps than this by accident: 1e12 tokens.
_MOST_TOKENS = 10**12


@dataclass(frozen=True)
class Wiring:
    """Where an SAE reads and writes, and what it is called; it stands in one table with the SAE's settings."""

    site: str | None = None
    """Where it reads, such as resid_post.12."""
    target: str | None = None
    """Where it writes, where that is not where it reads: a transcoder."""
    crosscoder: tuple[str, ...] = ()
    """Several sites to read and write together, in the place of one site."""
    name: str | None = None
    """What is put in front of its name."""


_WIRING = {f.name: f.type for f in fields(Wiring)}


@dataclass(frozen=True)
class Plan:
    """A run: a stream of activations, and the SAEs that learn from it."""

    saes: Mapping[str, TrainConfig]
    """The SAEs by name, ``collection/site/variant``."""
    model: str = "gemma-3-270m"
    """The model to read with, or whose activations the shards hold."""
    corpus: tuple[str, ...] = ()
    """What to read, each perhaps with ``=WEIGHT``."""
    shards: str | None = None
    """Where activations are that were harvested before; then nothing is read by the model."""
    tokens: int = 2_000_000
    """Tokens that each SAE is trained on, those drawn again included."""
    batch: int = 1024
    """Tokens per step."""
    reuse: int = 1
    """How often each activation is drawn."""
    pairs: int = 0
    """Draw tokens two by two, of one document and at most so many apart (1: neighbours), as temporal SAEs need; a plan with one of those
    has neighbours unless it says otherwise. All SAEs of a run learn from the same draws."""
    buffer: int = 1 << 17
    """Tokens held in memory to draw from; rounded down to whole batches."""
    context: int = 128
    """Tokens in a window of text."""
    pack: bool = False
    """Let several documents share a window."""
    epochs: int = 1
    """How often a corpus, or the shards, may be read again."""
    held_out: int = 65_536
    """Tokens, of documents kept from training, that set thresholds and give metrics."""
    seed: int = 0
    """Of the order of documents and draws."""
    field: str | None = None
    """The field or column that holds the text."""

    def __post_init__(self) -> None:
        lowest = {"tokens": 1, "batch": 1, "reuse": 1, "buffer": 1, "context": 2, "epochs": 1, "held_out": 256, "seed": 0, "pairs": 0}
        for name, low in lowest.items():
            if not low <= getattr(self, name) <= _MOST_TOKENS:
                raise BadConfig(f"{name}={getattr(self, name)!r} must be at least {low} and at most {_MOST_TOKENS:,}.")
        if bool(self.corpus) == (self.shards is not None):
            raise BadConfig("a run reads either corpora or shards: give one of the two.")
        if self.tokens < self.batch:
            raise BadConfig(f"tokens={self.tokens:,} do not fill one batch of {self.batch:,}.")
        if self.buffer < self.batch:
            raise BadConfig(f"buffer={self.buffer:,} does not hold one batch of {self.batch:,}.")
        if not self.saes:
            raise BadConfig("no SAE to train: a suite needs at least one [[sae]] table.")
        if self.pairs and (self.batch % 2 or self.batch < 4):
            raise BadConfig(f"batch={self.batch}: a batch of pairs holds an even number of tokens, at least 4.")
        if self.shards is None and self.pairs > self.context - 2:
            raise BadConfig(
                f"pairs={self.pairs}: a window of context={self.context} has {self.context - 1} tokens after the beginning-of-sequence "
                f"token, " + (f"at most {self.context - 2} apart." if self.context > 2 else "and one token makes no pair.")
            )
        if not self.pairs and (name := next((name for name, config in self.saes.items() if config.contrasted), None)):
            raise BadConfig(
                f"{name} is temporal (about) and learns from pairs of tokens: say how far apart they may be, as pairs=1, or contrast=0."
            )

    @property
    def steps(self) -> int:
        """Batches in the run."""
        return self.tokens // self.batch

    @property
    def capacity(self) -> int:
        """Tokens in the buffer: whole batches, and no more than the run needs."""
        needed = -(-self.tokens // self.reuse // self.batch) * self.batch
        return min(self.buffer // self.batch * self.batch, max(self.batch, needed))

    @property
    def sites(self) -> list[Site]:
        """Every site that some SAE reads or writes."""
        found = []
        for name, config in self.saes.items():
            reads = tuple(map(Site.parse, config.reads)) or (SaeName.parse(name).site,)
            found += [*reads, *map(Site.parse, config.writes)]
        return list(dict.fromkeys(found))

    def settings(self) -> dict[str, Any]:
        """Everything that decides what comes out, with every default filled in, ready for ``run.json``."""
        saes = {}
        for name, config in self.saes.items():
            told = asdict(config.resolved(self.batch))
            saes[name] = {key: value for key, value in told.items() if value is not None and value is not False and value != ()} | {
                "site": str(SaeName.parse(name).site)
            }
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "saes"}
        # In ``run.json``, ``held_out`` is what the finished SAEs achieve there.
        own["held_out_tokens"] = own.pop("held_out")
        return own | {"collection": SaeName.parse(next(iter(self.saes))).collection, "saes": saes}

    @classmethod
    def read(cls, path: Path, given: Mapping[str, Any]) -> "Plan":
        """The plan in a TOML file; what is `given` besides takes the place of the file's own keys."""
        if not path.is_file():
            raise Missing(f"no suite at {path}.")
        if path.stat().st_size > _MAX_FILE:
            raise BadFile(f"{path} is larger than {_MAX_FILE >> 20} MiB, which no suite is.")
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise BadFile(f"{path} is no TOML file: {error}.") from error
        if {"corpus", "shards"} & given.keys():
            found = {key: value for key, value in found.items() if key not in ("corpus", "shards")}
        return cls.parse({**found, **given})

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> "Plan":
        """The plan that tables of keys spell: the run's own keys, and ``sae``, a list of tables.

        ``corpus`` may be a single text. In a table ``site``, ``architecture``, ``d_sae``, ``l0`` and ``seed`` may be lists; it stands for
        every combination. ``target`` makes a transcoder, ``crosscoder`` (a list of sites) takes the place of ``site``, ``name`` is put in
        front of the variant's own.
        """
        known = {f.name: f.type for f in fields(cls) if f.name != "saes"} | {"collection": str, "sae": list}
        if isinstance(found.get("corpus"), str):
            found = {**found, "corpus": [found["corpus"]]}
        for key, value in found.items():
            if key not in known:
                raise unknown("setting", key, known, "What belongs to an SAE stands under [[sae]].")
            if key != "sae" and not fits(known[key], value):
                raise BadConfig(f"{key}={value!r}: expected {wording(known[key])}.")
        own: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in found.items() if key not in ("sae", "collection")
        }
        collection = found.get("collection") or Path(own.get("model", cls.model)).name
        steps = own.get("tokens", cls.tokens) // max(1, own.get("batch", cls.batch))
        saes: dict[str, TrainConfig] = {}
        tables = found.get("sae", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise BadConfig("sae must be a list of tables: write [[sae]] above each.")
        if sum(map(_count, tables)) > _MOST_SAES:
            raise BadConfig(f"the suite's lists stand for {sum(map(_count, tables)):,} SAEs; at most {_MOST_SAES:,} train side by side.")
        for table in tables:
            for name, config in _configs(collection, table, max(1, steps)):
                if name in saes:
                    raise BadConfig(f"two SAEs would be called {name}. Give one of their tables a name of its own (name = ...).")
                saes[name] = config
        if any(config.contrasted for config in saes.values()):
            own.setdefault("pairs", 1)
        return cls(saes=saes, **own)


def _configs(collection: str, table: Mapping[str, Any], steps: int) -> list[tuple[str, TrainConfig]]:
    keys = {f.name for f in fields(TrainConfig)} - {*DERIVED}
    for key in table:
        if key not in keys | _WIRING.keys():
            raise unknown("setting of an SAE", key, keys | _WIRING.keys())
    if ("site" in table) == ("crosscoder" in table):
        raise BadConfig("each [[sae]] needs either site or, for a crosscoder, crosscoder: the list of its sites.")
    choices = [_listed(table[key]) for key in VARIED if key in table]
    named = [key for key in VARIED if key in table]
    made = []
    for values in itertools.product(*choices):
        one = {**table, **dict(zip(named, values, strict=True))}
        for key, kind in _WIRING.items():
            if key in one and not fits(kind, one[key]):
                raise BadConfig(f"{key}={one[key]!r}: expected {wording(kind)}.")
        if len(one.get("crosscoder", ("", ""))) < 2:
            raise BadConfig(f"crosscoder={one['crosscoder']} names too few sites: a crosscoder reads at least two.")
        site = one.get("site") or one["crosscoder"][0]
        places = {"reads": one["crosscoder"]} if "crosscoder" in one else {}
        places |= {"writes": [str(Site.parse(one["target"]))]} if "target" in one else {}
        config = TrainConfig.parse({key: value for key, value in one.items() if key in keys} | places)
        variant = _variant(replace(config, steps=steps), one.get("name"))
        made.append((str(SaeName.parse(f"{collection}/{Site.parse(site)}/{variant}")), replace(config, steps=steps)))
    return made


def _count(table: Mapping[str, Any]) -> int:
    """SAEs that a table stands for."""
    for key in VARIED:
        if table.get(key) == []:
            raise BadConfig(f"{key}=[] is empty, and so stands for no SAE.")
    return math.prod(len(_listed(table[key])) for key in VARIED if key in table)


def _listed(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else [value]


def _variant(config: TrainConfig, name: str | None) -> str:
    """What tells an SAE from others of its site: its own name, kind, nesting, width, L0 and, unless 0, seed."""
    width = f"{config.d_sae // 1024}k" if config.d_sae % 1024 == 0 else str(config.d_sae)
    kind = "crosscoder" if config.reads else "transcoder" if config.writes else config.architecture
    nested = "temporal" if config.about else "nested" if config.prefixes else ""
    frozen = f"frozen-{config.frozen}" if config.frozen else ""
    parts = [name, kind, nested, frozen, width, f"l0_{config.l0}", f"seed_{config.seed}" if config.seed else ""]
    return "-".join(part for part in parts if part)
