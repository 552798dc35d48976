"""Recipe: how a process elsewhere opens the same SAE, and knows that it is the same."""

import os
from dataclasses import dataclass, replace

from hooke.errors import BadConfig
from hooke.sae import Sae, digest
from hooke.sae.resolve import resolve


@dataclass(frozen=True)
class SaeRecipe:
    """An SAE by where it comes from; small, whatever the SAE."""

    ref: str
    """What `resolve` takes. A file is looked for at the same path everywhere."""
    name: str
    """What it is called."""
    digest: str
    """Of its weights."""

    @classmethod
    def of(cls, ref: str, sae: Sae) -> "SaeRecipe":
        """How `sae`, which `ref` names here, is opened elsewhere."""
        where, mark, member = ref.partition("#")
        return cls((os.path.abspath(where) if os.path.exists(where) else where) + mark + member, sae.name, digest(sae))

    def open(self) -> Sae:
        """The SAE. Raises what `resolve` and reading raise, `BadConfig` where its weights are not the ones that were meant."""
        sae = resolve(self.ref).open()
        if digest(sae) != self.digest:
            raise BadConfig(f"the SAE {self.ref!r} has other weights than where the command runs. Put the same file on every machine.")
        return replace(sae, facts=replace(sae.facts, name=self.name))
