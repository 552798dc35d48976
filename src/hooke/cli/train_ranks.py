"""What `hooke train` does on several processes: leads them or, not the first, follows."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from hooke.cli.processes import joined, started
from hooke.errors import BadConfig, HookeError
from hooke.train import RunFolder, train
from hooke.train.plan import Plan
from hooke.train.ranks import ALONE, Ranks, SharedSource, check_spread


@dataclass
class Processes:
    """The processes of a run."""

    ranks: Ranks = ALONE
    begun: bool = False
    """Whether the others were told to train."""

    def check(self, plan: Plan) -> None:
        """Raise `BadConfig` where the plan's SAEs cannot be trained by so many."""
        for name, config in plan.saes.items():
            check_spread(self.ranks, name, config, plan.batch)

    def begin(self) -> None:
        """Have the others train, too."""
        self.begun = True
        self.ranks.told(True)

    def follow(self, plan: Plan, out: str, device: str) -> None:
        """Do as the first process does, until it is done."""
        try:
            if self.ranks.told(None):
                folder = RunFolder(out, plan.settings(), self.ranks)
                train(plan.saes, SharedSource(None, self.ranks, device), {}, model=plan.model, context=plan.context, folder=folder)
        except KeyboardInterrupt:
            return
        except HookeError as error:
            raise type(error)(f"process {self.ranks.part + self.ranks.lot * self.ranks.parts} of the run: {error}") from error


@contextlib.contextmanager
def processes(count: int, replicas: int, device: str) -> Iterator[Processes]:
    """`joined` for a run: `replicas` of the processes at a time have the same features and share out each batch."""
    if (size := started(count)) % replicas:
        raise BadConfig(f"{size} processes cannot be parted into {replicas} replicas: --replicas must divide --nproc.")
    with joined(count, device) as own:
        found = Processes(Ranks.of(own.rank, own.size, replicas, own.here) if own.size > 1 else ALONE)
        try:
            yield found
        finally:
            if found.ranks.first and not found.begun:
                found.ranks.told(False)
