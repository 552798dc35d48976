"""Styles: how the SAEs of a run are told apart on a page: their short names, groups, colours and dashes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hooke.errors import HookeError
from hooke.names import SaeName
from hooke.text.marks import stripped

__all__ = ["Styles"]

FEW = 8
"""SAEs up to which one chart holds them all."""

_COLOURS, _DASHES = 6, 4


@dataclass(frozen=True)
class Styles:
    """The SAEs of a run, as a page shows them."""

    saes: Mapping[str, Mapping[str, Any]]
    """Settings by name."""
    styles: Mapping[str, str]
    """Classes of the style sheet, by name."""
    legend: Sequence[tuple[str, str]]
    """What each look stands for."""
    groups: Sequence[tuple[str, list[str]]]
    """Title and names of what is drawn in one chart."""
    shared: Mapping[str, Any]
    """Settings that all have alike."""
    varied: Sequence[str]
    """Settings in which they differ."""

    @classmethod
    def of(cls, saes: Mapping[str, Mapping[str, Any]]) -> "Styles":
        """Few SAEs share a chart and each has its own look. Many are grouped by site (by architecture, where there is one site); then
        colour is the architecture, and dashes tell sizes and targets apart, or colour does where there is one architecture."""
        keys = list(dict.fromkeys(key for sae in saes.values() for key in sae))
        values = {key: [repr(sae.get(key)) for sae in saes.values()] for key in keys}
        varied = [key for key in keys if len(set(values[key])) > 1]
        shared = {key: next(iter(saes.values())).get(key) for key in keys if key not in varied}
        if len(saes) <= FEW:
            styles = {name: _look(i % _COLOURS, i // _COLOURS) for i, name in enumerate(saes)}
            made = cls(saes, styles, [], [("", list(saes))], shared, varied)
            legend = [(styles[name], f"{made.mark(name)} {made.short(name)}".strip()) for name in saes]
            return cls(saes, styles, legend, made.groups, shared, varied)
        architectures = list(dict.fromkeys(_architecture(sae) for sae in saes.values()))
        sizes = sorted({_size(sae) for sae in saes.values()}, key=lambda size: tuple(str(part).zfill(12) for part in size))
        several = len(architectures) > 1
        styles = {}
        for name, sae in saes.items():
            size = sizes.index(_size(sae))
            styles[name] = (
                _look(architectures.index(_architecture(sae)) % _COLOURS, size % _DASHES)
                if several
                else _look(size % _COLOURS, size // _COLOURS)
            )
        legend = [(_look(i % _COLOURS, 0), architecture) for i, architecture in enumerate(architectures)] if several else []
        for i, size in enumerate(sizes):
            look = f"plain d{i % _DASHES}" if several else _look(i % _COLOURS, i // _COLOURS)
            legend.append((look, _size_text(size)))
        return cls(saes, styles, legend, _groups(saes), shared, varied)

    @property
    def many(self) -> bool:
        """Whether they are too many for one chart."""
        return len(self.saes) > FEW

    def look(self, name: str) -> str:
        """Classes that colour and dash an SAE's curve."""
        return self.styles.get(name, _look(0, 0))

    def mark(self, name: str) -> str:
        """A letter for an SAE among few; nothing where it is the only one."""
        return "ABCDEFGH"[list(self.saes).index(name)] if 1 < len(self.saes) <= FEW else ""

    def site(self, name: str) -> str:
        """Where an SAE reads, as people say it."""
        return _site(name, self.saes.get(name, {}))

    def short(self, name: str) -> str:
        """An SAE's name without what all names begin with."""
        heads = {other.rsplit("/", 2)[0] for other in self.saes if other.count("/") >= 2}
        if len(heads) == 1 and name.count("/") >= 2 and all(other.count("/") >= 2 for other in self.saes):
            name = name.split("/", 1)[1]
        return stripped(name)


def _groups(saes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    by_site: dict[str, list[str]] = {}
    for name, sae in saes.items():
        by_site.setdefault(_site(name, sae), []).append(name)
    if len(by_site) > 1:
        return sorted(
            by_site.items(), key=lambda group: [int(part) if part.isdigit() else 0 for part in group[0].replace(",", "").split()] + [0]
        )
    by_architecture: dict[str, list[str]] = {}
    for name, sae in saes.items():
        by_architecture.setdefault(_architecture(sae), []).append(name)
    return list(by_architecture.items())


def _site(name: str, sae: Mapping[str, Any]) -> str:
    try:
        site = SaeName.parse(name).site
    except HookeError:
        return stripped(str(sae.get("site") or "not stated"))
    return f"layer {site.layer}, {site.kind}"


def _architecture(sae: Mapping[str, Any]) -> str:
    return stripped(str(sae.get("architecture") or "not stated"))


def _size(sae: Mapping[str, Any]) -> tuple[Any, Any]:
    return str(sae.get("d_sae", "")), str(sae.get("l0", ""))


def _size_text(size: tuple[Any, Any]) -> str:
    features, l0 = (stripped(str(part)) for part in size)
    return ", ".join(part for part in (f"{features} features" if features else "", f"L0 {l0}" if l0 else "") if part) or "not stated"


def _look(colour: int, dash: int) -> str:
    return f"c{colour} d{dash % _DASHES}"
