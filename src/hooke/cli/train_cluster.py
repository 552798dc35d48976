"""What `hooke train --engine ray` does: each SAE of a suite is a task of its own, trained by whichever worker is free."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from hooke.cli.train_stream import Feed
from hooke.engine.cluster import Cluster, Unit
from hooke.errors import BadConfig, HookeError, Missing
from hooke.model.recipe import weights_mark
from hooke.sae import Sae
from hooke.shards.place import place_at
from hooke.train import Hooks, RunFolder
from hooke.train.plan import Plan


@dataclass(frozen=True)
class _Suite:
    """What training any SAE of a suite takes."""

    plan: Plan
    out: str
    """The suite's folder or address."""
    folder: str
    """Where the command runs: relative paths begin there."""
    device: str
    checkpoint_s: float


@dataclass(frozen=True)
class _Trained:
    metrics: dict[str, float]
    mark: str | None
    """Of the model that was read with."""


def train_spread(
    plan: Plan, folder: RunFolder, cluster: Cluster, checkpoint_s: float, progress: Callable[[int, str], None] = lambda *_: None
) -> None:
    """Train the SAEs of `plan` by the workers of `cluster`, each in a run of its own below ``tasks``, and put them into `folder`.

    Each learns from the stream that the whole suite would have, and so becomes what it would be beside the others. Stopped at any moment
    and called again, it goes on: SAEs that are done are left, others go on from their last checkpoint. `progress` hears how many are done
    and the last one's name. Raises what training and the cluster raise, `BadConfig` where workers have read with different models.
    """
    out = folder.where if "://" in folder.where else os.path.abspath(folder.where)
    suite = _Suite(plan, out, os.getcwd(), cluster.device, checkpoint_s)
    names, found, mark = list(plan.saes), dict[str, dict[str, float]](), None
    with folder.opened():
        results = cluster.in_order(_train, partial(_opened, suite), (Unit(name, name) for name in names))
        for name, one in zip(names, results, strict=True):
            if mark not in (None, one.mark):
                raise BadConfig(f"{name} was trained on a model with other weights than {names[0]}. Put the same files on every machine.")
            mark, found[name] = one.mark, one.metrics
            _fetch(folder, out, name)
            progress(len(found), name)
        folder.write_settings(held_out=found)
        folder.keep_finished()


def _fetch(folder: RunFolder, out: str, name: str) -> None:
    target = folder.sae_path(name)
    try:
        place_at(_task(out, name)).fetch(str(target.relative_to(folder.path)), target)
    except (Missing, FileNotFoundError) as error:
        place = _task(out, name)
        raise Missing(
            f"{name} is trained, but not to be seen here in {place}: --out is a folder that all machines see, or an address."
        ) from error


def _task(out: str, name: str) -> str:
    return f"{out}/tasks/{name.partition('/')[2]}"


def _opened(suite: _Suite) -> _Suite:
    return suite


def _train(suite: _Suite, name: str) -> _Trained:
    with _within(suite.folder):
        own = replace(suite.plan, saes={name: suite.plan.saes[name]})
        settings = own.settings() | {"stream": [str(site) for site in suite.plan.sites]}
        folder = RunFolder(_task(suite.out, name), settings)
        feed = Feed(suite.plan, folder, lambda _: None, suite.device)
        if not folder.finished:
            with folder.opened():
                folder.event("resumed" if folder.step else "started", folder.step)
                try:
                    feed.trained(own, Hooks(checkpoint_s=suite.checkpoint_s))
                except HookeError as error:
                    folder.event("stopped", folder.step, str(error))
                    raise
                folder.event("finished", own.steps)
                folder.keep_finished()
        model = feed.model
        metrics = Sae.read_facts(folder.sae_path(name))[0].metrics
        return _Trained(metrics, None if model is None else weights_mark(model))


@contextlib.contextmanager
def _within(folder: str) -> Iterator[None]:
    try:
        with contextlib.chdir(folder):
            yield
    except FileNotFoundError as error:
        if error.filename != folder:
            raise
        raise Missing(f"there is no folder {folder} here, from which the command's paths begin. Give whole paths, and make it.") from error
