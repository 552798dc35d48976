"""Likelihood: how likely the name of a feature is right of the text at hand, learnt from texts of which readers said whether it is.

A name may be right where its feature is strong and wrong where it is weak, right of one kind of text and wrong of another. So a logistic
model weighs, for the feature that stands out in the text, how unusual and how strong it is and on how much of the text; what is known of
this feature's name; and where the text lies among others, in the directions in which the model tells texts apart:

    logit p = (w + slope[f]) · evidence + offset[f] + place(text) · lean[f],    lean[f] = place(name[f]) (s I + W) + own[f]

``place`` is the mean activation over a text (or a name, read as a text) at the SAE's site and some before it, each coordinate in its own
unit, that of each site made a unit vector, and seen in the first few directions of all texts and names, each divided by the root of its
size. ``slope``, ``offset``, ``W`` and ``own`` are drawn towards nothing by squared penalties; the whole is convex, so that the same marks
give the same model.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hooke.atlas.naming import own_names
from hooke.atlas.records import SaeEntry
from hooke.errors import BadFile, HookeError
from hooke.files import parse_json, read_safetensors, safetensors_header, write_safetensors
from hooke.names import Site
from hooke.sae.packs import pack_folders

SUFFIX = ".likelihood"
_FORMAT = "hooke likelihood 2"
_TENSORS = dict.fromkeys(("weights", "mean", "scale"), torch.float32)
_TENSORS |= {"feature": torch.int32} | dict.fromkeys(("offset", "slope", "lean", "centre", "directions"), torch.float16)
"""What is kept of it, and how finely."""
_EVIDENCE = 4
DIRECTIONS = 96
"""Directions in which texts are told apart."""
_OFFSET, _SLOPE, _SHARED, _OWN = 1.2, 3.0, 1.5, 2.0
"""Penalties of what is said of one name, of what evidence is worth for it, of all names alike, and of where one name is true; chosen on
marks left out."""
_STEPS = 200


def evidence(specificity: np.ndarray, relative: np.ndarray, share: np.ndarray, valid: np.ndarray) -> Float[np.ndarray, "row 4"]:
    """What a feature's standing in a text says of its name: logs of specificity beyond 1 nat, of strength and of the share of tokens it is
    active on, and log-odds of how often the name is true (`hooke.analysis.ranking.validity`)."""
    logs = [np.log(np.maximum(specificity - 1, 0.05)), np.log(relative + 0.005), np.log(np.maximum(share, 1e-3))]
    return np.stack([*logs, np.log(valid / (1 - valid))], 1).astype(np.float64)


@dataclass(frozen=True)
class Likelihood:
    """How likely names are right of a text; made by `fit`, kept beside the weights of an SAE."""

    weights: Float[np.ndarray, "5"]
    """Of `evidence`, and a constant."""
    feature: Int[np.ndarray, " name"]
    """Features whose names were judged, ascending."""
    sites: tuple[Site, ...]
    """Where activations are read, in the order in which they stand beside each other."""
    offset: Float[np.ndarray, " name"]
    """What is known of each name whatever the text."""
    slope: Float[np.ndarray, "name 4"]
    """How much more than `weights` evidence is worth for each name."""
    lean: Float[np.ndarray, "name direction"]
    """Which texts each name is right of."""
    mean: Float[np.ndarray, " d"]
    """Mean of texts' mean activations, those of the sites side by side."""
    scale: Float[np.ndarray, " d"]
    """Their standard deviation."""
    centre: Float[np.ndarray, " d"]
    """Mean of the unit vectors."""
    directions: Float[np.ndarray, "d direction"]
    """What unit vectors are seen in."""
    names: tuple[str, ...]
    """What the features of `feature` were called when they were judged."""

    def place(self, acts: Float[np.ndarray, "text d"]) -> Float[np.ndarray, "text direction"]:
        """Where texts lie, by their mean activations at `sites`."""
        return _unit(self._centred(acts) @ self.directions)

    def place_alone(self, acts: Float[np.ndarray, " d"]) -> Float[np.ndarray, " direction"]:
        """`place` of one text, the same to the bit on any number of threads."""
        found = np.einsum("d,dk->k", self._centred(acts[None])[0], self.directions, optimize=False)
        return found / max(float(np.linalg.norm(found)), 1e-12)

    def _centred(self, acts: Float[np.ndarray, "text d"]) -> Float[np.ndarray, "text d"]:
        return _units((acts - self.mean) / self.scale, len(self.sites)) - self.centre

    def of(
        self,
        feature: Int[np.ndarray, " row"],
        seen: Float[np.ndarray, "row 4"],
        text: Int[np.ndarray, " row"],
        acts: Float[np.ndarray, "text d"],
    ) -> Float[np.ndarray, " row"]:
        """How likely the name of each `feature` is right of its `text`, by its `evidence`; of names nobody judged, by that alone."""
        return self.at(feature, seen, text, self.place(acts))

    def at(
        self,
        feature: Int[np.ndarray, " row"],
        seen: Float[np.ndarray, "row 4"],
        text: Int[np.ndarray, " row"],
        place: Float[np.ndarray, "text direction"],
    ) -> Float[np.ndarray, " row"]:
        """`of`, where the texts lie already known."""
        at = np.minimum(np.searchsorted(self.feature, feature), max(0, self.feature.size - 1))
        judged = self.judges(feature)
        logit = seen @ self.weights[:-1] + self.weights[-1]
        logit[judged] += self.offset[at[judged]] + (seen[judged] * self.slope[at[judged]]).sum(1)
        logit[judged] += np.einsum("rk,rk->r", place[text[judged]], self.lean[at[judged]])
        return 1 / (1 + np.exp(-logit))

    def judges(self, feature: Int[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Of which features names were judged."""
        return np.isin(feature, self.feature)

    @cached_property
    def name_of(self) -> Mapping[int, str]:
        """What each feature was called when its name was judged."""
        return dict(zip(self.feature.tolist(), self.names, strict=True))

    def save(self, path: Path, sae: SaeEntry) -> None:
        """Write it at `path`, most of it in half precision; `read` gives it back."""
        kept = {name: torch.from_numpy(np.asarray(getattr(self, name))).to(dtype) for name, dtype in _TENSORS.items()}
        said = {"names": json.dumps(self.names, ensure_ascii=False), "sites": json.dumps([str(site) for site in self.sites])}
        said["width"] = str(self.mean.size // len(self.sites))
        write_safetensors(path, kept, {"format": _FORMAT, "digest": sae.digest, **said})


def read(path: Path, sae: SaeEntry) -> Likelihood | None:
    """The likelihood in the file at `path`; None where it is of other weights than those of `sae`, or of another version's form.

    Raises `BadFile`.
    """
    _, said = safetensors_header(path)
    if not said.get("format", "").startswith(_FORMAT[:-1]):
        raise BadFile(f"{path} is no file of likelihoods.")
    if said["format"] != _FORMAT or said.get("digest") != sae.digest:
        return None
    tensors, _ = read_safetensors(path)
    if set(tensors) != set(_TENSORS):
        raise BadFile(f"{path} is damaged: it holds {', '.join(sorted(tensors))} instead of {', '.join(sorted(_TENSORS))}.")
    arrays = {name: tensor.numpy().astype(np.int64 if name == "feature" else np.float32) for name, tensor in tensors.items()}
    try:
        names = parse_json(said.get("names", ""))
        sites = tuple(Site.parse(site) for site in parse_json(said.get("sites", "")))
        width = int(said.get("width", sae.mean.size))
    except (ValueError, TypeError, AttributeError, HookeError):
        names, sites, width = [], (), 0
    n, (d, k) = arrays["feature"].size, arrays["directions"].shape if arrays["directions"].ndim == 2 else (0, 0)
    wanted = {"weights": (_EVIDENCE + 1,), "feature": (n,), "offset": (n,), "slope": (n, _EVIDENCE), "lean": (n, k), "directions": (d, k)}
    wanted |= dict.fromkeys(("mean", "scale", "centre"), (d,))
    feature = arrays["feature"]
    whole = all(arrays[name].shape == shape for name, shape in wanted.items()) and all(
        np.isfinite(array).all() for array in arrays.values()
    )
    whole &= d == len(sites) * width and isinstance(names, list) and len(names) == n and all(isinstance(name, str) for name in names)
    if not whole or (np.diff(feature) <= 0).any() or (n and not 0 <= feature[0] <= feature[-1] < sae.d_sae) or (arrays["scale"] <= 0).any():
        raise BadFile(f"{path} is damaged: its parts do not belong together.")
    return Likelihood(**arrays, names=tuple(names), sites=sites)


def own_likelihood(sae: SaeEntry) -> Path:
    """Where the likelihood made here of an SAE's names is kept."""
    return own_names(sae).with_suffix(SUFFIX)


def known(sae: SaeEntry) -> Likelihood | None:
    """How likely the names of an SAE's features are right: what was made here, else what a pack brings; None where neither is."""
    own = own_likelihood(sae)
    return (read(own, sae) if sae.digest and own.is_file() else None) or carried(sae)


def carried(sae: SaeEntry) -> Likelihood | None:
    """What an installed pack knows of how likely the names of an SAE's features are right; None where none does."""
    for folder in pack_folders().values():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if sae.digest and (found := read(path, sae)) is not None:
                return found
    return None


@dataclass(frozen=True)
class Marks:
    """What readers said of names beside texts."""

    feature: Int[np.ndarray, " row"]
    """Whose name was judged."""
    text: Int[np.ndarray, " row"]
    """Beside which text, by number."""
    seen: Float[np.ndarray, "row 4"]
    """The `evidence` there."""
    right: Bool[np.ndarray, " row"]
    """Whether the name is right of the text."""


def fit(
    named: Mapping[int, str],
    sites: Sequence[Site],
    of_names: Float[np.ndarray, "name d"],
    of_texts: Float[np.ndarray, "text d"],
    marks: Marks,
) -> Likelihood:
    """A likelihood from marks.

    `named` has the names, ascending by feature, `of_names` and `of_texts` the mean activations of names and texts at `sites`.
    """
    order = np.array(sorted(named))
    mean, scale = of_texts.mean(0), of_texts.std(0) + 1e-6
    units, called = (_units((acts - mean) / scale, len(sites)) for acts in (of_texts, of_names))
    centre = units.mean(0)
    directions = _directions(np.concatenate([units - centre, called - called.mean(0)]))
    place, name_place = _unit((units - centre) @ directions), _unit((called - called.mean(0)) @ directions)
    at = np.searchsorted(order, marks.feature)
    centred, spread = marks.seen.mean(0), marks.seen.std(0)
    spread[spread < 1e-6] = 1
    given = ((marks.seen - centred) / spread, place[marks.text], name_place[at], marks.right)
    weights, offset, slope, shared, own = _fitted([torch.from_numpy(array).double() for array in given], torch.from_numpy(at), len(order))
    bias = weights[_EVIDENCE] - (weights[:_EVIDENCE] / spread) @ centred
    weights, slope = np.append(weights[:_EVIDENCE] / spread, bias), slope / spread
    known = {"weights": weights, "offset": offset - slope @ centred, "slope": slope, "lean": name_place @ shared + own}
    known |= {"mean": mean, "scale": scale, "centre": centre, "directions": directions}
    rounded = {name: array.astype(np.float32) for name, array in known.items()}
    return Likelihood(feature=order, names=tuple(named[int(index)] for index in order), sites=tuple(sites), **rounded)


def _directions(rows: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "d direction"]:
    """The first principal directions of `rows`, each divided by the root of its size beside the first one's."""
    square, axes = np.linalg.eigh(rows.T.astype(np.float64) @ rows)
    size = np.sqrt(np.maximum(square[: -DIRECTIONS - 1 : -1], 0))
    kept = size > 1e-5 * size[0]
    return axes[:, : -DIRECTIONS - 1 : -1][:, kept] / np.sqrt(size[kept] / size[0])


def _fitted(given: Sequence[Tensor], at: Int[Tensor, " row"], names: int) -> list[np.ndarray]:
    """Weights of the evidence and a constant, offset and slope of each name, what all names share (``s I + W``), and what each has of its
    own.

    `given` are by row the evidence, the places of text and name, and whether the name is right; `at` says which name.
    """
    seen, place, name_place, right = given
    k = place.shape[1]
    weights, offset = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (_EVIDENCE + 2, names))
    shape = ((names, _EVIDENCE), (k, k), (names, k))
    slope, shared, own = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in shape)
    parts = [weights, offset, slope, shared, own]
    solver = torch.optim.LBFGS(parts, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        alike = 4 * weights[-1] * (place * name_place).sum(1)
        lean = ((name_place @ shared + own[at]) * place).sum(1)
        logit = ((weights[:_EVIDENCE] + slope[at]) * seen).sum(1) + weights[_EVIDENCE] + alike + lean + offset[at]
        penalty = sum(p * part.square().sum() for p, part in zip((_OFFSET, _SLOPE, _SHARED, _OWN), parts[1:], strict=True))
        total = binary_cross_entropy_with_logits(logit, right, reduction="sum") + 0.5 * penalty
        total.backward()
        return total

    solver.step(loss)
    shared = shared + 4 * weights[-1] * torch.eye(k, dtype=torch.float64)
    return [part.detach().numpy() for part in (weights[: _EVIDENCE + 1], offset, slope, shared, own)]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _units(rows: np.ndarray, parts: int) -> np.ndarray:
    """Rows of `parts` equal parts, each made a unit vector."""
    return _unit(rows.reshape(len(rows) * parts, -1)).reshape(len(rows), -1)
