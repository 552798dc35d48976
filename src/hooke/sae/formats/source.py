"""Source: the files one SAE is read from. Loads JSON, YAML and tensors with bounds; in `meta` mode tensors have shapes and no values."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadFile, Missing, listed
from hooke.files import parse_json, read_safetensors, safetensors_header
from hooke.sae.formats.pickled import PtFile, Stored, read_pt
from hooke.sae.formats.zipped import npz_tensors
from hooke.sae.native import finite

# What training keeps of each feature beside the weights: how often, or how long ago, it was active.
_COUNTS = {
    "act_freq_scores",
    "feature_density",
    "feature_frequency",
    "feature_sparsity",
    "firing_rate",
    "log_feature_sparsity",
    "n_forward_passes_since_fired",
    "num_batches_not_active",
    "num_tokens_since_fired",
    "sparsity",
    "stats_last_nonzero",
    "steps_since_active",
    "tokens_since_fired",
}
_MAX_TEXT = 4 << 20
_MAX_YAML, _MAX_DEPTH = 64 << 10, 20
_SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass
class Source:
    """What a reader is given: a folder, perhaps a file in it, and what the caller knows better than the files."""

    folder: Path
    """The folder that holds the files."""
    file: str = ""
    """The file that was asked for, relative to `folder`; empty if the folder itself was."""
    meta: bool = False
    """Whether weights are left unread."""
    site: str | None = None
    """The site to take where the files do not say one that Hooke knows."""
    model: str | None = None
    """The model, where the caller knows it; files are often vague."""
    warnings: list[str] = field(default_factory=list)
    """What the reader had to assume."""
    used: set[str] = field(default_factory=set)
    """Files whose tensors were read."""
    held: list[Tensor] = field(default_factory=list)
    """Tensors that were read and found to be finite."""
    dtypes: set[str] = field(default_factory=set)
    """Types of the weights that were read."""
    shapes: dict[str, list[int]] = field(default_factory=dict)
    """Shapes of the tensors in the files that were read, those that hold several numbers with a fraction."""
    others: set[str] = field(default_factory=set)
    """Names of the other tensors in them."""
    asked: set[str] = field(default_factory=set)
    """Names of those that a reader asked for."""

    @cached_property
    def names(self) -> set[str]:
        """Names of the files directly in the folder."""
        return {entry.name for entry in self.folder.iterdir() if entry.is_file()} if self.folder.is_dir() else set()

    @property
    def where(self) -> Path:
        """What to call this source in messages."""
        return self.folder / self.file if self.file else self.folder

    def warn(self, text: str) -> None:
        """Remember something the reader of the SAE should know."""
        if text not in self.warnings:
            self.warnings.append(text)

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of the folder; `BadFile` if it is none."""
        text = self._text(name, _MAX_TEXT)
        try:
            found = parse_json(text)
        except ValueError as error:
            raise BadFile(f"{self.folder / name} is no JSON that can be read ({str(error)[:200]}).") from error
        return _object(found, self.folder / name)

    def yaml(self, name: str) -> dict[str, Any]:
        """The mapping in a small YAML file of the folder. Aliases and merges, by which a few lines become gigabytes, are refused."""
        import yaml

        text, loader = self._text(name, _MAX_YAML), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            depth = 0
            for event in yaml.parse(text, Loader=loader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > _MAX_DEPTH:
                    raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
                if isinstance(event, yaml.AliasEvent) or (isinstance(event, yaml.ScalarEvent) and event.value == "<<"):
                    raise ValueError("it refers to parts of itself, by an alias or a merge")
            found = yaml.load(text, Loader=loader)  # noqa: S506 (a safe loader)
        except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError, AttributeError) as error:
            raise BadFile(f"{self.folder / name} is no YAML that can be read ({' '.join(str(error).split())[:200]}).") from error
        return _object(found, self.folder / name)

    def _text(self, name: str, limit: int) -> str:
        path = self.folder / name
        if not path.is_file():
            raise Missing(f"no file {path}.")
        if path.stat().st_size > limit:
            raise BadFile(f"{path} is larger than {limit >> 10} KiB; no SAE's settings are.")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BadFile(f"{path} is not UTF-8 text ({error}).") from error

    def tensors(self, name: str, under: str = "") -> dict[str, Tensor]:
        """All tensors of a `.safetensors`, `.npz` or `.pt` file of the folder (of its entry `under`), checked to be finite."""
        path = self.folder / name
        if not path.is_file():
            raise Missing(f"no file {path}.")
        self.used.add(name)
        if path.suffix == ".npz":
            found = npz_tensors(path, meta=self.meta)
        elif path.suffix == ".safetensors":
            found = self._safetensors(path)
        else:
            stored = {key: value for key, value in self.content(name, under).items() if isinstance(value, Stored | Tensor)}
            found = {str(key): self.pt(name).tensor(value, meta=self.meta) for key, value in stored.items()}
        self.dtypes |= {str(tensor.dtype).removeprefix("torch.") for tensor in found.values() if tensor.ndim >= 2}
        self.held += found.values()
        self.shapes |= {key: list(tensor.shape) for key, tensor in found.items() if tensor.is_floating_point() and tensor.numel() > 1}
        self.others |= found.keys() - self.shapes.keys()
        return found

    def check_all_asked(self, d_sae: int) -> None:
        """Raise `BadFile` where the files hold a tensor that no reader asked for: what it would have changed, nobody knows.

        What training counts of each feature changes nothing; that, and integers and single numbers, are passed over with a warning.
        """
        asked = {name.lower() for name in self.asked}  # Gemma Scope writes w_enc and W_enc
        left = {name: shape for name, shape in self.shapes.items() if name.lower() not in asked}
        counts = {name for name, shape in left.items() if name.rpartition(".")[2].lower() in _COUNTS and shape == [d_sae]}
        if unknown := sorted(left.keys() - counts):
            said = ", ".join(f"{name[:80]!r} {left[name]}" for name in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise BadFile(f"{self.where} holds tensors that this format is not known to have: {said}{more}. Without them it may be wrong.")
        if passed := counts | {name for name in self.others if name.lower() not in asked}:
            self.warn(f"passed over, for no formula reads it: {listed(passed, 5)}.")

    def content(self, name: str, under: str = "") -> dict[str, Any]:
        """The dictionary in a `.pt` file, or its entry `under`; its tensors are `Stored`."""
        content = _object(self.pt(name).content, self.folder / name)
        return _object(content[under], self.folder / name) if under else content

    def pt(self, name: str) -> PtFile:
        """A `.pt` file's contents."""
        if name not in self._pt_files:
            self._pt_files[name] = read_pt(self.folder / name)
        return self._pt_files[name]

    @cached_property
    def _pt_files(self) -> dict[str, PtFile]:
        return {}

    def scalar(self, name: str, key: str, tensors: dict[str, Tensor], under: str = "") -> float:
        """The single value of a tensor, read even in `meta` mode."""
        tensor = tensors[key]
        self.asked.add(key)
        if tensor.numel() != 1:
            raise BadFile(f"{self.folder / name}: {key} has shape {list(tensor.shape)}; it must be one number.")
        if tensor.is_meta and name.endswith(".safetensors"):
            tensor = read_safetensors(self.folder / name)[0][key]
        elif tensor.is_meta:
            tensor = self.pt(name).tensor(self.content(name, under)[key])
        value = float(tensor)
        if not math.isfinite(value):
            raise BadFile(f"{self.folder / name}: {key} is {value}.")
        return value

    def _safetensors(self, path: Path) -> dict[str, Tensor]:
        if self.meta:
            shapes, _ = safetensors_header(path)
            for key, (dtype, shape) in shapes.items():
                if dtype not in _SAFETENSORS_TYPES or math.prod(shape) > path.stat().st_size:
                    raise BadFile(f"{path}: {key[:80]!r} is of type {dtype[:20]} and shape {shape}, which the file cannot hold.")
            return {key: torch.empty(shape, dtype=_SAFETENSORS_TYPES[dtype], device="meta") for key, (dtype, shape) in shapes.items()}
        tensors, _ = read_safetensors(path)
        for key, tensor in tensors.items():
            if tensor.is_floating_point() and not finite(tensor):
                raise BadFile(f"{path}: {key[:80]} holds values that are not finite. The file is damaged or its training diverged.")
        return tensors


def _object(found: Any, where: Path) -> dict[str, Any]:
    if not isinstance(found, dict) or not all(isinstance(key, str | int) for key in found):
        raise BadFile(f"{where} holds no object but a {type(found).__name__}.")
    return found
