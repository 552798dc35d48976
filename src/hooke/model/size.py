"""Size: what a model costs to hold and to read, told from its configuration; no weights are loaded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hooke.errors import Missing, unknown
from hooke.model.architectures import Architecture, architecture_of
from hooke.model.carried import CARRIED, carried_folder
from hooke.names import Site


@dataclass(frozen=True)
class ModelSize:
    """A model's parameters, by where they are."""

    name: str
    """What was asked for."""
    embedding: int
    """Numbers of the token embedding."""
    blocks: tuple[int, ...]
    """Numbers of each block."""
    architecture: Architecture
    """Where its sites are."""
    config: Any
    """Its configuration."""

    @classmethod
    def read(cls, ref: str) -> "ModelSize":
        """Of a carried model by name, a folder, a ``config.json``, or ``org/name`` on a hub. Raises `Missing` where there is none."""
        from transformers import AutoConfig, AutoModelForCausalLM

        where = str(carried_folder(ref)) if ref in CARRIED else ref
        if "/" not in where and not os.path.exists(where):
            raise unknown("model", ref, CARRIED, "A model is a name from this list, a folder, a config.json, or org/name on a model hub.")
        try:
            config = AutoConfig.from_pretrained(where)
        except (OSError, ValueError) as error:
            raise Missing(f"no configuration of {ref!r}: {str(error).splitlines()[0]}") from error
        architecture = architecture_of(config)
        with torch.device("meta"):
            hf = AutoModelForCausalLM.from_config(config)
        count = architecture.n_layers(config)
        blocks = tuple(sum(weight.numel() for weight in architecture.block(hf, i).parameters()) for i in range(count))
        return cls(ref, hf.get_input_embeddings().weight.numel(), blocks, architecture, config)

    def width(self, site: Site) -> int:
        """Values per token at `site`. Raises `UnknownName` for a layer that the model has not."""
        if site.layer >= len(self.blocks):
            raise unknown(f"layer of {self.name}", site.layer, map(str, range(len(self.blocks))))
        return self.architecture.width(self.config, site)

    def depth(self, sites: Sequence[Site]) -> int:
        """Blocks that are computed to read `sites`."""
        return max(site.layer + (site.kind != "resid_pre") for site in sites)

    def operations(self, sites: Sequence[Site], context: int) -> float:
        """Operations to read one token up to the highest of `sites`, in windows of `context` tokens."""
        depth = self.depth(sites)
        attention = 2 * context * self.architecture.width(self.config, Site(0, "attn_z"))
        return 2.0 * sum(self.blocks[:depth]) + depth * attention

    def bytes_up_to(self, sites: Sequence[Site]) -> int:
        """Bytes in bfloat16 of what is computed to read `sites`, with the embedding."""
        return 2 * (self.embedding + sum(self.blocks[: self.depth(sites)]))
