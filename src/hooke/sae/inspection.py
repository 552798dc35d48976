"""Inspection: what an SAE's files are, told without its weights; of Hooke's own file without torch, too."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hooke.errors import BadConfig, BadFile, Missing
from hooke.files import safetensors_header
from hooke.names import Site
from hooke.sae.facts import HEADER_KEY, SaeFacts, read_facts

OWN, OWN_ABOUT = "native", "Hooke's own file"


@dataclass(frozen=True)
class Inspection:
    """What a file or folder is, told without reading its weights."""

    path: Path
    """What was asked."""
    dialect: str
    """Key of ``hooke.sae.formats.DIALECTS``; empty for a folder that only holds `members`."""
    about: str = ""
    """What that format is, in a line."""
    name: str = ""
    """Address that the SAE would have."""
    kind: str = ""
    """sae, transcoder, skip transcoder, crosscoder or cross-layer transcoder."""
    activation: str = ""
    """``jumprelu`` (also ReLU), ``topk`` or ``groupmax``, with its k."""
    normalize: str = ""
    """What is done to each token first; see `SaeFacts.normalize`."""
    d_in: int = 0
    """Width of what it reads."""
    d_sae: int = 0
    """Number of features."""
    d_out: int = 0
    """Width of what it writes."""
    reads: list[str] = field(default_factory=list)
    """Sites it reads."""
    writes: list[str] = field(default_factory=list)
    """Sites it rebuilds."""
    groups: dict[str, list[int]] = field(default_factory=dict)
    """Runs of features trained for a purpose, each as its first feature and the one after its last."""
    model: str = ""
    """The model it was trained on; empty if the files do not say."""
    dtype: str = ""
    """Type of the stored weights."""
    bytes: int = 0
    """Size of the files that would be read."""
    members: list[str] = field(default_factory=list)
    """Names for ``open_sae(path, member=...)`` where a folder holds several SAEs."""
    warnings: list[str] = field(default_factory=list)
    """What had to be assumed."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"path": str(self.path)}


def is_own(path: Path) -> bool:
    """Whether `path` is a file that Hooke wrote, under whatever name."""
    try:
        return path.is_file() and HEADER_KEY in safetensors_header(path)[1]
    except (BadFile, Missing):
        return False


def inspect_own(path: Path, *, site: str | None, model: str | None) -> Inspection:
    """What a file that Hooke wrote is; `site` and `model` as in `hooke.sae.formats.inspect`."""
    facts, d_in, d_sae = read_facts(path)
    facts, (tensors, _) = asked_of(facts, path, site=site, model=model), safetensors_header(path)
    d_out = tensors.get("b_dec", ("", [d_in]))[1][0]
    dtypes = {dtype.lower() for name, (dtype, _) in tensors.items() if name.startswith("W_")}
    return told(path, OWN, OWN_ABOUT, facts, (d_in, d_sae, d_out), skips="W_skip" in tensors, dtypes=dtypes, bytes=path.stat().st_size)


def asked_of(facts: SaeFacts, path: Path, *, site: str | None, model: str | None) -> SaeFacts:
    """The facts of Hooke's own file at `path` with what the caller said; `BadConfig` for another site than its header says."""
    if site and str(Site.parse(site)) != str(facts.site):
        raise BadConfig(f"{path} says itself that it reads {facts.site}; the site {site} cannot be put in its place.")
    return replace(facts, model=model) if model else facts


def told(
    path: Path,
    dialect: str,
    about: str,
    facts: SaeFacts,
    sizes: tuple[int, int, int],
    *,
    skips: bool,
    dtypes: set[str],
    **rest: Any,
) -> Inspection:
    """What is worth telling of an SAE with `facts`, of d_in, d_sae and d_out in `sizes`; `rest` are further fields of the inspection."""
    reads, writes = facts.input_sites, facts.output_sites
    return Inspection(
        path,
        dialect,
        about,
        name=facts.name,
        kind=_kind(reads, writes, skips),
        activation=facts.activation + (f", k={facts.k}" if facts.k else ""),
        normalize=facts.normalize,
        d_in=sizes[0],
        d_sae=sizes[1],
        d_out=sizes[2],
        reads=list(map(str, reads)),
        writes=list(map(str, writes)),
        groups=facts.groups,
        model=facts.model,
        dtype=", ".join(sorted(dtypes)),
        **rest,
    )


def _kind(reads: tuple[Site, ...], writes: tuple[Site, ...], skips: bool) -> str:
    if len(writes) > 1 or len(reads) > 1:
        return "crosscoder" if reads == writes or (len(reads) == 1 and reads[0] in writes) else "cross-layer transcoder"
    return "skip transcoder" if skips else "transcoder" if reads != writes else "sae"
