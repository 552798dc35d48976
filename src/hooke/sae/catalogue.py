"""Catalogue: SAEs that others have published, from the naming grammars in ``catalogue.toml``. Reads no network and no weights."""

import difflib
import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from hooke.errors import BadConfig, UnknownName, unknown
from hooke.names import SITE_KINDS, SaeName, Site

_THOUSANDS = {"1k": 1024, "4k": 4096, "16k": 16384, "24k": 24576, "32k": 32768, "65k": 65536, "80k": 81920, "131k": 131072}
WIDTHS = _THOUSANDS | {"128k": 131072, "262k": 262144, "524k": 524288, "1m": 1048576}
"""Features behind a width's label; ``8x`` means eight times the width of the activations."""
# What an axis may look like in a path.
_AXES = {"layer": r"\d{1,4}", "width": r"[0-9a-z]+", "l0": r"[0-9a-z]+", "variant": r"[0-9a-z_]*"}


@dataclass(frozen=True)
class KnownSae:
    """One published SAE: what it is and where it lies."""

    name: str
    """``release/id``, as people write it."""
    address: str
    """The same as an `SaeName`: ``release/site/variant``."""
    release: str
    """The family it belongs to."""
    model: str
    """The model it was trained on, as `Model` calls it."""
    site: str
    """Where it reads; the first place of several."""
    writes: str
    """Where what it rebuilds is, of several the first; the same as `site` unless it is a transcoder."""
    reads: tuple[str, ...]
    """Everywhere it reads: more than one place in crosscoders and cross-layer transcoders."""
    width: str
    """Label of its width, such as ``16k``."""
    d_in: int
    """Width of the activations it reads, of several places side by side."""
    d_sae: int
    """Number of features."""
    l0: float | None
    """Active features a token by its own name; None where the name does not say."""
    l0_label: str
    """How its name says so: a number, ``small``, or nothing."""
    canonical: bool
    """Whether it is the one meant where no L0 is given."""
    repo: str
    """``org/name`` on the hub."""
    path: str
    """Its folder there."""
    files: tuple[str, ...]
    """Its files, seen from `path`."""
    format: str
    """How the files are written."""
    neuronpedia: str
    """Its id at Neuronpedia; empty where there is none."""

    def to_json(self) -> dict[str, Any]:
        """The row of ``hooke saes --json``."""
        about = {"name": self.name, "model": self.model, "site": self.site, "d_in": self.d_in, "d_sae": self.d_sae, "l0": self.l0}
        where = {"repo": self.repo, "path": self.path, "files": list(self.files), "format": self.format}
        sites = {"reads": list(self.reads), "writes": self.writes}
        return {**about, "installed": False, "width": self.width, **sites, "neuronpedia": self.neuronpedia or None, **where}


@dataclass(frozen=True)
class Release:
    """A family of SAEs of one model that are named alike."""

    name: str
    """What its SAEs' names begin with."""
    model: str
    """The model they were trained on, as `Model` calls it."""
    hub_model: str
    """The same on the hub, ``org/name``."""
    repo: str
    """``org/name`` on the hub."""
    format: str
    """How the files are written."""
    grammar: Mapping[str, Any]
    """Its row in the table, with the model's words filled in."""

    @property
    def site_kind(self) -> str:
        """The kind of site that its SAEs read."""
        return self.grammar["site"].partition(".")[0]

    @property
    def canonical(self) -> dict[tuple[int, str], str]:
        """L0 of the SAE that is meant where none is given, by layer and width."""
        pairs = [(width, *pair.split(":")) for width, text in self.grammar.get("canonical", {}).items() for pair in text.split()]
        return {(int(layer), width): l0 for width, layer, l0 in pairs}

    @property
    def counted(self) -> bool:
        """Whether L0 is a number in the name, which may be any."""
        return "{l0}" in self.grammar["path"] and "l0_words" not in self.grammar

    @cached_property
    def saes(self) -> list[KnownSae]:
        """Its SAEs, as far as the grammar lists them: all, or the canonical ones and a row with L0 left open (``*``)."""
        rows = [self._sae(layer, width, l0) for (layer, width), l0 in sorted(self.canonical.items())]
        words: Sequence[str] = self.grammar.get("l0_words", ["*"] if self.counted else [""])
        for layer, width, l0 in itertools.product(self.grammar.get("layer", []), self.grammar.get("width", []), words):
            rows += [self._sae(layer, width, l0, variant) for variant in self._variants(width, l0)]
        return sorted(rows, key=lambda row: (Site.parse(row.site), row.d_sae, row.l0 or 0, row.name))

    def _variants(self, width: str, l0: str) -> Iterator[str]:
        for variant in self.grammar.get("variant", [""]):
            if isinstance(variant, str):
                yield variant
            elif variant["width"] == width and variant["l0"] == l0:
                yield variant["ending"]

    def _sae(self, layer: int, width: str, l0: str = "", variant: str = "") -> KnownSae:
        axes = {"layer": layer, "width": width, "l0": l0, "variant": variant}
        grammar, model = self.grammar, _table()["models"][self.model]
        site = grammar["site"].format(**axes)
        joint = {"all": range(model["layers"]), "deep": model.get("deep", [])}.get(grammar.get("joint", ""), [])
        reads = tuple(grammar["site"].format(layer=one) for one in joint) or (site,)
        d_in = len(reads) * (model["d_attn"] if site.startswith("attn_z.") else model["d_model"])
        detail = [width, *(["l0-" + l0] if l0 and "{l0}" in grammar["path"] else []), *variant.strip("_").replace("_", "-").split()]
        meant = l0 == grammar.get("neuronpedia_l0", l0) and variant == grammar.get("neuronpedia_variant", "")
        other = f"__l0-{l0}" if self.counted and self.canonical.get((layer, width)) != l0 else ""
        return KnownSae(
            name=f"{self.name}/{grammar.get('id', grammar['path']).format(**axes)}",
            address=f"{self.name}/{site}/{'-'.join(detail)}",
            release=self.name,
            model=self.model,
            site=site,
            writes=grammar.get("writes", grammar["site"]).format(**axes),
            reads=reads,
            width=width,
            d_in=d_in,
            d_sae=grammar.get("features", {}).get(width) or (int(width[:-1]) * d_in if width.endswith("x") else WIDTHS[width]),
            l0=_l0(l0, grammar.get("l0"), layer, model["layers"]),
            l0_label=l0,
            canonical=self.canonical.get((layer, width)) == l0,
            repo=self.repo,
            path=grammar["path"].format(**axes),
            files=tuple(file.format(**axes, part=part) for file in grammar["files"] for part in _parts(file, reads)),
            format=self.format,
            neuronpedia=grammar["neuronpedia"].format(**axes) + other if "neuronpedia" in grammar and meant and l0 != "*" else "",
        )

    def match(self, template: str, text: str) -> KnownSae | None:
        """The SAE whose `template` (a field of the grammar) reads `text`; None where there is none."""
        pattern = self.grammar.get(template, self.grammar["path"]) if template == "id" else self.grammar[template]
        found = re.fullmatch(_pattern(pattern), text)
        if found is None:
            return None
        return self._with(**found.groupdict())

    def neuronpedia(self, text: str) -> KnownSae | None:
        """The SAE that Neuronpedia calls `text`."""
        if "neuronpedia" not in self.grammar:
            return None
        main, _, l0 = text.partition("__l0-")
        found = re.fullmatch(_pattern(self.grammar["neuronpedia"]), main)
        if found is None or (l0 and not self.counted):
            return None
        usual = {"l0": self.grammar.get("neuronpedia_l0", "canonical" if self.counted else ""), "variant": ""}
        usual["variant"] = self.grammar.get("neuronpedia_variant", "")
        return self._with(**{**usual, **found.groupdict(), **({"l0": l0} if l0 else {})})

    def _with(self, layer: str = "", width: str = "", l0: str = "", variant: str = "") -> KnownSae | None:
        """The SAE with these axes (an axis that the name leaves out is the only one there is)."""
        layers, variants = self.grammar.get("layer", []), self.grammar.get("variant", [""])
        layer = layer or (str(layers[0]) if len(layers) == 1 else "")
        variant = variant or (variants[0] if len(variants) == 1 else "")
        rows = [row for row in self.saes if layer.isdigit() and Site.parse(row.site).layer == int(layer) and width in ("", row.width)]
        if not rows:
            return None
        if self.counted:
            l0 = self.canonical.get((int(layer), rows[0].width), "") if l0 == "canonical" else l0
            return self._sae(int(layer), rows[0].width, l0) if l0.isdigit() else None
        name = {"layer": layer, "width": rows[0].width, "l0": l0, "variant": variant}
        path = f"{self.name}/{self.grammar.get('id', self.grammar['path']).format(**name)}"
        return next((row for row in rows if row.name == path), None)


def _parts(file: str, reads: Sequence[str]) -> range:
    """How often `file` is there: once, or for each place that is read."""
    return range(len(reads) if "{part}" in file else 1)


def _pattern(template: str) -> str:
    """A template as a regular expression with the axes as groups; ``canonical`` may stand for the folder that names an L0."""
    pattern = re.escape(template)
    for axis, shape in _AXES.items():
        pattern = pattern.replace(re.escape("{" + axis + "}"), f"(?P<{axis}>{shape})", 1)
    return pattern


def _l0(label: str, table: str | None, layer: int, layers: int) -> float | None:
    if label.isdigit():
        return float(label)
    if table is None or label not in _table()["l0"][table]:
        return None
    low, high = _table()["l0"][table][label]
    return float(math.floor(low + (high - low) * min(1, 3 * layer / layers)))


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((files("hooke.sae") / "catalogue.toml").read_text("utf-8"))


@cache
def releases() -> tuple[Release, ...]:
    """Every release, in the order of the table."""
    found = []
    for row in _table()["release"]:
        for model in _models(row["models"]):
            facts = _table()["models"][model]
            words = row.get("l0_words") or list(_table()["l0"].get(row.get("l0"), {}))
            grammar = {**row, "layer": _layers(row, facts)}
            grammar |= {"l0_words": words} if words else {}
            deep = "_".join(map(str, facts.get("deep", [])))
            names = {"suite": facts.get("suite", ""), "np": facts.get("np", ""), "model": model, "deep": deep}
            grammar |= {key: _fill(value, names) for key, value in grammar.items() if isinstance(value, str)}
            found += _split(grammar, model, facts["hub"])
    return tuple(found)


def _layers(row: Mapping[str, Any], facts: Mapping[str, Any]) -> Sequence[int]:
    """The layers of a row: a list, or a word for those of the model."""
    said = row["joint"] if "joint" in row else row.get("layer", [])
    known = {"all": range(facts["layers"]), "but the last": range(facts["layers"] - 1), "deep": facts.get("deep", [])}
    layers = list(known[said]) if isinstance(said, str) else said
    return layers[:1] if "joint" in row else layers


def _models(named: str | Sequence[str]) -> Sequence[str]:
    """The models of a row: a list, or all whose name begins so."""
    return [model for model in _table()["models"] if model.startswith(named)] if isinstance(named, str) else named


def _split(grammar: dict[str, Any], model: str, hub: str) -> Iterator[Release]:
    """A release for each value of the axes that stand in its name."""
    for axis, key in (("width", "width"), ("l0", "l0_words")):
        if "{" + axis + "}" in grammar["name"]:
            for value in grammar[key]:
                words = {axis: value, "np_width": grammar.get("np_width", {}).get(value, value)}
                fixed = {k: _fill(v, words) for k, v in grammar.items() if isinstance(v, str)}
                yield Release(fixed["name"], model, hub, fixed["repo"], grammar["format"], {**grammar, **fixed, key: [value]})
            return
    yield Release(grammar["name"], model, hub, grammar["repo"], grammar["format"], grammar)


def _fill(template: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        template = template.replace("{" + name + "}", value)
    return template


def find(ref: str) -> KnownSae | None:
    """The published SAE that `ref` names: ``release/id``, an `SaeName`, or an id at Neuronpedia; None where there is none.

    >>> find("gemma-scope-2b-pt-res/layer_20/width_16k/canonical").path
    'layer_20/width_16k/average_l0_71'
    >>> find("gemma-2-2b/20-gemmascope-res-16k").name
    'gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71'
    """
    head, _, rest = ref.partition("/")
    canonical = re.sub(r"/canonical$", "/average_l0_canonical", rest)
    for release in releases():
        if release.name == head:
            found = release.match("id", canonical) or next((row for row in release.saes if row.address == ref), None)
            found = found or _by_address(release, ref)
        else:
            found = release.neuronpedia(ref)
        if found is not None:
            return found
    return None


def _by_address(release: Release, ref: str) -> KnownSae | None:
    """An address whose L0 is a number that no table lists."""
    found = re.fullmatch(r"[^/]+/\w+\.(\d{1,4})/([0-9a-z]+)-l0-(\d+)", ref)
    if found is None or not release.counted:
        return None
    row = release.match("path", release.grammar["path"].format(layer=found[1], width=found[2], l0=found[3]))
    return row if row is not None and row.address == ref else None


def find_path(repo: str, path: str) -> KnownSae | None:
    """The published SAE at `path` in the hub's repository `repo`; None where the grammars do not say."""
    for release in releases():
        if release.repo == repo and release.grammar["path"] and (found := release.match("path", path)) is not None:
            return found
    return None


def repository(name: str) -> str | None:
    """``org/name`` of the repository called `name` without its owner; None where the catalogue has none of that name."""
    return next((release.repo for release in releases() if release.repo.rpartition("/")[2] == name), None)


def near(ref: str, count: int = 3) -> list[str]:
    """Names in the catalogue that `ref` may have meant, nearest first."""
    head, _, rest = ref.partition("/")
    names = {release.name: release for release in releases()}
    likely = [head] if head in names else difflib.get_close_matches(head, names, n=2, cutoff=0.6)
    known = [row.name for release in releases() if release.name in likely for row in release.saes]
    return difflib.get_close_matches(f"{likely[0]}/{rest}" if likely else ref, known, n=count, cutoff=0.6)


def search(*, model: str | None = None, site: str | None = None, width: str | None = None) -> list[KnownSae]:
    """The published SAEs of `model` (with or without its owner) that read at `site` (or at any of a kind) and have this `width`.

    >>> [row.name for row in search(model="google/gemma-2-2b", site="resid_post.20", width="16k")]
    ['gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71']
    """
    if width is not None and not re.fullmatch(r"[0-9]+[0-9a-z]*", width):
        raise BadConfig(f"cannot read {width!r} as a width. It is a label such as 16k or 1m, or a number of features.")
    wanted = model.rpartition("/")[2] if model else None
    chosen = [release for release in releases() if wanted in (None, release.model, release.hub_model)]
    rows = itertools.chain.from_iterable(release.saes for release in chosen)
    return [row for row in rows if any(reads_at(one, site) for one in row.reads) and width in (None, row.width, str(row.d_sae))]


def reads_at(site: str, wanted: str | None) -> bool:
    """Whether `site` is the `wanted` one: a site, a kind of site, or None for any."""
    if wanted is None:
        return True
    if "." not in wanted:
        if wanted not in SITE_KINDS:
            raise unknown("site kind", wanted, SITE_KINDS, "A kind alone means every layer; resid_post.12 means one.")
        return site.partition(".")[0] == wanted
    return str(Site.parse(wanted)) == site


def is_address(ref: str) -> bool:
    """Whether `ref` is written as an SAE's own address, ``collection/site/variant``, which no hub path is."""
    try:
        SaeName.parse(ref)
    except (BadConfig, UnknownName):
        return False
    return True
