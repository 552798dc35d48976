"""Spread: several SAEs judged by a cluster, one a task; the same figures to the bit as side by side here."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hooke.engine.cluster import Cluster, Unit
from hooke.errors import BadFile
from hooke.evals.evaluator import Evaluator
from hooke.evals.run import EvalConfig, Evaluation, Text, check, clean_passes, judged
from hooke.files import parse_json, read_safetensors, write_safetensors
from hooke.model import Model
from hooke.model.recipe import Recipe
from hooke.sae import Sae
from hooke.sae.recipe import SaeRecipe
from hooke.text.corpus import Window

_TOGETHER = "all SAEs at once"


@dataclass(frozen=True)
class _Reading:
    """What judging any SAE takes."""

    model: Model
    text: Text
    config: EvalConfig


def evaluate_spread(
    model: Model,
    asked: Mapping[SaeRecipe, Sae],
    windows: Iterable[Window],
    config: EvalConfig,
    cluster: Cluster,
    *,
    work: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """What `evaluate` finds, by the workers of `cluster`: each opens one SAE after the other by its recipe, and reads the text for it.

    With `work`, a folder, what was found of an SAE is kept there at once: a run that is started again with the same arguments judges only
    the others. Raises what `evaluate` and the cluster raise.
    """
    recipes, saes = list(asked), list(asked.values())
    check(model, saes)
    text = Text.taken(model, saes, windows, config)
    groups = {recipe.name: [recipe] for recipe in recipes}
    joint = "core" in config.suites and Evaluator.can_join(saes)
    if joint:
        groups[_TOGETHER] = recipes
    found = {name: kept for number, name in enumerate(groups) if (kept := _kept(work, number)) is not None}
    units = [Unit(name, group) for name, group in groups.items() if name not in found]
    opened = partial(_opened, Recipe.of(model, cluster.device), text, config)
    progress(f"Judging: {len(found)} of {len(groups)} done")
    for unit, one in zip(units, cluster.in_order(_judge, opened, iter(units)), strict=True):
        _keep(work, list(groups).index(unit.name), one)
        found[unit.name] = one
        progress(f"Judging: {len(found)} of {len(groups)} done, last {unit.name}")
    own = [found[recipe.name] for recipe in recipes]
    result = own[0].result | {"saes": [row for one in own for row in one.result["saes"]]}
    result |= found[_TOGETHER].result if joint else {}
    features, sums = ({name: value for one in own for name, value in getattr(one, what).items()} for what in ("features", "sums"))
    return Evaluation(result, features, sums)


def _opened(recipe: Recipe, text: Text, config: EvalConfig) -> _Reading:
    return _Reading(recipe.load(), text, config)


def _judge(reading: _Reading, group: list[SaeRecipe]) -> Evaluation:
    model, text, config = reading.model, reading.text, reading.config
    saes = [recipe.open().to(str(model.device)) for recipe in group]
    if len(saes) == 1:
        return judged(model, saes, text, config)
    centres = [torch.zeros(sae.W_dec.shape[-1], dtype=torch.float64, device=model.device) for sae in saes]  # no figure of it asks for them
    evaluator = Evaluator(model, saes, centres, [{}] * len(saes), config.seed)
    for batch, lengths, passes, _ in clean_passes(model, text, config):
        evaluator.see_together(batch, lengths, passes, config.stride)
    return Evaluation(evaluator.joint_result(), {}, {})


def _place(work: Path, number: int) -> Path:
    return work / f"{number:05d}.safetensors"


def _keep(work: Path | None, number: int, found: Evaluation) -> None:
    if work is not None:
        tensors = {f"{kind}|{name}": value for name, own in found.features.items() for kind, value in own.items()}
        write_safetensors(_place(work, number), tensors, {"hooke_eval": json.dumps([found.result, found.sums])})


def _kept(work: Path | None, number: int) -> Evaluation | None:
    if work is None or not _place(work, number).is_file():
        return None
    try:
        tensors, metadata = read_safetensors(_place(work, number))
        result, sums = parse_json(metadata["hooke_eval"])
    except (KeyError, ValueError, TypeError, BadFile) as error:
        raise BadFile(f"{_place(work, number)} holds no finished part of an evaluation ({error}). Delete it to begin again.") from error
    features: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition("|")
        features.setdefault(name, {})[kind] = value
    return Evaluation(result, features, sums)
