"""Checkpoint: its files, whole or in parts by features, and SAEs in training out of them, for any number of processes."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hooke.errors import BadFile
from hooke.files import atomic_folder, parse_json, safetensors_header, sha256
from hooke.train.config import TrainConfig
from hooke.train.ranks import Ranks, share_of
from hooke.train.trainer import SaeTrainer

__all__ = ["SCHEMA", "Checkpoint", "newest_whole", "parts_of", "write_state"]

SCHEMA = 1
_PART = re.compile(r"part-(\d+)-of-(\d+)")
# Tensors that every part has whole.
_WHOLE = re.compile(r"(mean|scale)\..*|(b_dec|W_skip)(\.first|\.second)?")


def write_state(target: Path, about: Mapping[str, Any], trainers: Mapping[str, SaeTrainer]) -> None:
    """A folder with what `trainers` have here, each in a file, and ``state.json`` with `about`; it appears whole."""
    with atomic_folder(target) as folder:
        saes = {}
        for number, (name, trainer) in enumerate(trainers.items()):
            tensors, numbers = trainer.state()
            file = folder / f"sae-{number:04d}.safetensors"
            save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, file)
            saes[name] = {"file": file.name, "sha256": sha256(file), "numbers": numbers}
        (folder / "state.json").write_text(json.dumps({**about, "saes": saes}))


def parts_of(path: Path) -> list[Path]:
    """The folders that a checkpoint's parts are in, in order: itself where it is whole; none while a part is missing."""
    parts = _parts(child.name for child in path.iterdir())
    return [path] if parts is None else [path / part for part in parts]


def newest_whole(files: Iterable[str]) -> str:
    """The newest of the checkpoints that `files` (``checkpoints/step-.../...``) are of, none of whose parts is missing; empty for none."""
    steps: dict[str, list[str]] = {}
    for name in files:
        if name.startswith("checkpoints/"):
            _, step, inside = name.split("/", 2)
            steps.setdefault(step, []).append(inside)
    return max((step for step, inside in steps.items() if _parts(name.split("/")[0] for name in inside) != []), default="")


def _parts(names: Iterable[str]) -> list[str] | None:
    """Of what lies in a checkpoint the parts that make it up; none where one is missing, None where it is not in parts."""
    known = list(names)
    if not any(name.lstrip(".").startswith("part-") for name in known):
        return None
    for count in sorted({int(match[2]) for name in known if (match := _PART.fullmatch(name))}):
        wanted = [f"part-{number}-of-{count}" for number in range(count)]
        if {*wanted} <= {*known}:
            return wanted
    return []


class Checkpoint:
    """What a checkpoint holds for the process that `ranks` says. Raises `BadFile` for one that is damaged or of another run."""

    def __init__(self, path: Path, configs: Mapping[str, TrainConfig], ranks: Ranks) -> None:
        self.path, self._ranks = path, ranks
        self._parts = parts_of(path)
        try:
            self._told = [parse_json((part / "state.json").read_bytes()) for part in self._parts]
            first = self._told[0]
            if any(told["schema"] != SCHEMA or told["saes"].keys() != configs.keys() for told in self._told):
                raise ValueError("it is of another run or version")
            self.step, self.position, self.metrics_bytes = int(first["step"]), first["position"], int(first["metrics_bytes"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> BadFile:
        return BadFile(f"the checkpoint {self.path} cannot be read: {error}. Remove it to begin anew.")

    def trainer(self, name: str, device: str, *, learns: bool = True) -> SaeTrainer:
        """The SAE `name` in training; without `learns` only to be exported, without what the next step would need."""
        try:
            numbers = self._told[0]["saes"][name]["numbers"]
            tensors = self._tensors(name, int(numbers["config"]["d_sae"]), learns)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unreadable(error) from error
        return SaeTrainer.restore(name, {key: tensor.to(device, copy=True) for key, tensor in tensors.items()}, numbers, self._ranks)

    def _tensors(self, name: str, d_sae: int, learns: bool) -> dict[str, Tensor]:
        low, high = share_of(self._ranks.part, self._ranks.parts, d_sae)
        pieces: dict[str, list[Tensor]] = {}
        for number, (part, told) in enumerate(zip(self._parts, self._told, strict=True)):
            start, end = share_of(number, len(self._parts), d_sae)
            if number and (end <= low or high <= start):
                continue
            path = part / Path(told["saes"][name]["file"]).name
            if sha256(path) != told["saes"][name]["sha256"]:
                raise BadFile(f"{path} is damaged: its digest is not the one written with it. Remove {self.path} to begin anew.")
            keys, _ = safetensors_header(path)
            with safe_open(path, "pt") as file:
                for key in keys:
                    if not learns and key.endswith((".first", ".second")):
                        pieces[key] = [torch.empty(0)]
                    elif _WHOLE.fullmatch(key):
                        pieces.setdefault(key, [file.get_tensor(key)])
                    elif start < high and low < end:
                        pieces.setdefault(key, []).append(file.get_slice(key)[max(low - start, 0) : high - start])
        return {key: one[0] if len(one) == 1 else torch.cat(one) for key, one in pieces.items()}
