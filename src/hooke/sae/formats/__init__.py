"""Formats: every published SAE file format. `open_sae` and `inspect` tell the dialect by its own marks; `write_sae` writes five."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hooke.errors import BadFile, Missing, unknown
from hooke.files import safetensors_header
from hooke.sae import Sae
from hooke.sae.formats import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    openai,
    openmoss,
    own,
    qwen_scope,
    saelens,
    single,
    sparsify,
)
from hooke.sae.formats.source import Source
from hooke.sae.inspection import OWN, OWN_ABOUT, Inspection, inspect_own, told

_DEPTH, _MAX_FOLDERS = 5, 20_000
# Files an SAE can be recognised by when a folder is searched for several.
_ENDINGS = (".safetensors", ".npz", ".pt", ".pth")


@dataclass(frozen=True)
class Dialect:
    """One file format."""

    about: str
    """What it is, in a line."""
    sniff: Callable[[Source], bool]
    """Whether a source is of this format, by its own marks."""
    read: Callable[[Source], Sae]
    """The SAE in it."""
    write: Callable[[Sae, Path], Path] | None = None
    """Writes an SAE under a path and gives back what to open; None if the format is only read."""
    members: Callable[[Source], list[str]] | None = None
    """Names of the SAEs that lie side by side in one folder of this format."""
    whole: bool = False
    """Whether such a folder is also one SAE, of which the members are parts."""


DIALECTS: dict[str, Dialect] = {
    OWN: Dialect(OWN_ABOUT, own.sniff, own.read, own.write, own.members),
    "gemma-scope": Dialect("Gemma Scope, params.npz", gemma_scope.sniff, gemma_scope.read, gemma_scope.write),
    "gemma-scope-2": Dialect(
        "Gemma Scope 2, params.safetensors", gemma_scope_2.sniff, gemma_scope_2.read, gemma_scope_2.write, gemma_scope_2.members, whole=True
    ),
    "saelens": Dialect("SAELens 1 to 6, cfg.json", saelens.sniff, saelens.read, saelens.write),
    "sparsify": Dialect("EleutherAI sparsify, sae.safetensors", sparsify.sniff, sparsify.read, sparsify.write),
    "dictionary_learning": Dialect("dictionary_learning, ae.pt", dictionary_learning.sniff, dictionary_learning.read),
    "llama-scope": Dialect("Llama Scope, hyperparams.json", openmoss.sniff_llama_scope, openmoss.read_llama_scope),
    "openmoss": Dialect("OpenMOSS, config.json", openmoss.sniff, openmoss.read, members=openmoss.members, whole=True),
    "qwen-scope": Dialect("Qwen Scope, layer*.sae.pt", qwen_scope.sniff, qwen_scope.read, members=qwen_scope.members),
    "circuit-tracer-clt": Dialect(
        "circuit-tracer's cross-layer transcoders, W_enc_0.safetensors",
        circuit_tracer.sniff_cross,
        circuit_tracer.read,
        members=circuit_tracer.members,
        whole=True,
    ),
    "circuit-tracer": Dialect(
        "circuit-tracer transcoders, config.yaml", circuit_tracer.sniff, circuit_tracer.read, members=circuit_tracer.members
    ),
    "openai": Dialect("OpenAI's GPT-2 SAEs, pre_bias", openai.sniff, openai.read, members=openai.members),
    "linear": Dialect("Goodfire and qresearch, one .pt", single.sniff_linear, single.read_linear),
    "hook-z": Dialect("hook_z SAEs of GPT-2 small", single.sniff_hook_z, single.read_hook_z),
}
"""Every dialect by name, in the order in which they are tried."""


def open_sae(path: Path | str, *, member: str | None = None, site: str | None = None, model: str | None = None) -> Sae:
    """The SAE in a file or folder of any dialect, in Hooke's form: `b_dec` and fixed scales folded, every value checked.

    `member` names one of several in a folder (`inspect` lists them). `site` is taken where the files do not say theirs, `model` in place
    of what they say.
    """
    return _read(*_found(Path(path), member, site=site, model=model))


def inspect(path: Path | str, *, member: str | None = None, site: str | None = None, model: str | None = None) -> Inspection:
    """What is in a file or folder, without reading its weights; a folder that holds several SAEs gives their names.

    `member` names one of several; `site` and `model` are as in `open_sae`.
    """
    path = Path(path)
    if member is None and path.is_dir():
        names = members(path)
        dialect = _sniffed(Source(path))
        if len(names) > 1 and not (dialect and DIALECTS[dialect].whole):
            return Inspection(path, dialect or "", DIALECTS[dialect].about if dialect else "", members=names)
    dialect, source = _found(path, member, site=site, model=model, meta=True)
    if dialect == OWN:
        return replace(inspect_own(source.where, site=site, model=model), path=path)
    sae, row = _read(dialect, source), DIALECTS[dialect]
    return told(
        path,
        dialect,
        row.about,
        sae.facts,
        (sae.d_in, sae.d_sae, len(sae.b_dec)),
        skips=sae.W_skip is not None,
        dtypes=source.dtypes,
        bytes=sum((source.folder / name).stat().st_size for name in source.used),
        members=row.members(source) if row.members and row.whole and not source.file else [],
        warnings=source.warnings,
    )


def write_sae(sae: Sae, path: Path | str, dialect: str) -> Path:
    """Write `sae` under `path` in `dialect`; returns the file or folder that `open_sae` reads back.

    What the dialect cannot hold raises `BadConfig` with the reason. The same SAE gives the same bytes.
    """
    writers = {name: row.write for name, row in DIALECTS.items() if row.write}
    if dialect not in writers:
        hint = f"{dialect} is only read." if dialect in DIALECTS else ""
        raise unknown("dialect to write", dialect, writers, hint)
    return writers[dialect](sae, Path(path))


def members(path: Path) -> list[str]:
    """Names of the SAEs in a folder: those its own dialect lists, else every folder or file below it that is one."""
    source = Source(path)
    dialect = _sniffed(source)
    if dialect and (listed := DIALECTS[dialect].members) and (names := listed(source)):
        return names
    if dialect:
        return []
    return sorted(_below(path))


def _below(path: Path) -> Iterator[str]:
    """Every SAE under a folder that is none itself."""
    seen = 0
    for root, folders, files in os.walk(path):
        seen += 1
        folder = Path(root)
        if seen > _MAX_FOLDERS:
            raise BadFile(f"{path} holds more than {_MAX_FOLDERS:,} folders; name one of them.")
        inner = folder.relative_to(path)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if len(inner.parts) < _DEPTH else []
        if dialect := _sniffed(Source(folder)):
            listed = DIALECTS[dialect].members
            names = [] if listed is None or DIALECTS[dialect].whole else listed(Source(folder))
            yield from ((inner / name).as_posix() for name in names) if names else (inner.as_posix(),)
            folders[:] = []
            continue
        for name in files:
            if name.endswith(_ENDINGS) and _sniffed(Source(folder, name)):
                yield (inner / name).as_posix()


def _sniffed(source: Source) -> str | None:
    """The dialect of a source, or None. A file that cannot be read at all is none of ours."""
    for name, row in DIALECTS.items():
        try:
            if row.sniff(source):
                return name
        except (BadFile, Missing):
            if source.file:
                raise
    return None


def _found(path: Path, member: str | None, **options: Any) -> tuple[str, Source]:
    """The dialect and source of what was asked for."""
    if not path.exists():
        raise Missing(f"no file {path}.")
    if member is None:
        source = Source(path, **options) if path.is_dir() else Source(path.parent, path.name, **options)
        if (dialect := _sniffed(source)) and not (path.is_dir() and _only_parts(dialect, source)):
            return dialect, source
        if path.is_file():
            raise _no_dialect(path, source)
        names = members(path)
        if len(names) != 1:
            raise _several(path, names)
        member = names[0]
    return _member(path, member, options)


def _only_parts(dialect: str, source: Source) -> bool:
    """Whether the folder as such is no SAE but a set of them."""
    row = DIALECTS[dialect]
    names = row.members(source) if row.members else []
    return bool(names) and not row.whole


def _member(path: Path, member: str, options: dict[str, Any]) -> tuple[str, Source]:
    known = members(path) if path.is_dir() else []
    if member not in known:
        raise unknown("member", member, known, f"Asked of {path}.")
    dialect = _sniffed(Source(path))
    folder, name = (path, member) if dialect else ((path / member).parent, Path(member).name)
    if not dialect and (path / member).is_dir():
        folder, name = path / member, ""
    inner = dialect or _sniffed(Source(folder))
    if name and inner:
        found = [entry.name for entry in folder.iterdir() if entry.name == name or entry.name.startswith(f"{name}.")]
        name = sorted(found, key=len)[0] if found else name
    source = Source(folder, name, **options)
    chosen = inner or _sniffed(source)
    if chosen is None:
        raise _no_dialect(path / member, source)
    return chosen, source


def _read(dialect: str, source: Source) -> Sae:
    try:
        return DIALECTS[dialect].read(source)
    except OSError as error:
        raise BadFile(f"{source.where} cannot be read: {error}.") from error


def _no_dialect(path: Path, source: Source) -> BadFile:
    known = "; ".join(f"{name} ({row.about})" for name, row in DIALECTS.items())
    with contextlib.suppress(BadFile):
        tensors = ", ".join(sorted(safetensors_header(path)[0])[:12])[:1000]
        return BadFile(f"{path} is a safetensors file, but no SAE that Hooke knows; it holds {tensors or 'no tensor'}. Known: {known}.")
    return BadFile(f"{path} is no SAE in a form that Hooke knows. Known: {known}.")


def _several(path: Path, names: list[str]) -> BadFile | Missing:
    if not names:
        known = "; ".join(f"{name} ({row.about})" for name, row in DIALECTS.items())
        return Missing(f"{path} holds no SAE in a form that Hooke knows. Known: {known}.")
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return BadFile(f"{path} holds {len(names)} SAEs; name one with member=... (--member): {shown}.")
