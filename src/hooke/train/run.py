"""RunFolder: where a run keeps its settings, metrics, events and checkpoints, so that a kill costs minutes and changes nothing."""

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hooke.errors import BadConfig, BadFile
from hooke.files import atomic_write, cache_dir, parse_json, sole_writer, write_error
from hooke.shards.kept import Kept
from hooke.train.checkpoint import SCHEMA, Checkpoint, newest_whole, parts_of, write_state
from hooke.train.config import TrainConfig
from hooke.train.ranks import ALONE, Ranks
from hooke.train.trainer import SaeTrainer

# What the first process writes beside checkpoints and SAEs.
_BESIDE = ("run.json", "metrics.jsonl", "events.jsonl", "held_out.safetensors")
_STEP = re.compile(r"step-(\d{9})")


class RunFolder:
    """A folder with ``run.json``, ``metrics.jsonl``, ``events.jsonl`` and ``checkpoints/step-.../``.

    Metrics hold no clock: a run that was killed and went on writes the same bytes as one left alone. What is about time is an event.
    Of a run on several processes (`ranks`), which all see the folder, each writes its part of a checkpoint, and the first all else.

    At an address (``s3://...``) the same is kept there, and worked with in a folder of the cache: another machine goes on from it.
    """

    def __init__(self, where: Path | str, settings: Mapping[str, Any], ranks: Ranks = ALONE) -> None:
        """A new folder, or the one of an earlier call with the same `settings`; other settings are refused, each difference named."""
        self.where, self.ranks, self._kept = str(where), ranks, None
        self.path = Path(where)
        """The folder on this machine."""
        if "://" in self.where:
            self.path = cache_dir() / "runs" / hashlib.sha256(self.where.encode()).hexdigest()[:16]
            self._kept = Kept(self.where, self.path, shared=ranks.size > 1)
            if ranks.first:
                with sole_writer(self.path):
                    self._kept.restore()
            else:
                self._kept.fetch(lambda name: name.startswith(("run.json", "checkpoints/")))
        self.settings = json.loads(json.dumps({"schema": SCHEMA, **settings}))
        known = self.path / "run.json"
        if known.is_file():
            self._compare(known)

    def _keep(self, *names: str, gone: Callable[[str], bool] = lambda _: False) -> None:
        """Where the run is kept at an address: put these files there, as they are now, and what the first process has written beside."""
        if self._kept is not None:
            beside = [name for name in _BESIDE if self.ranks.first and (self.path / name).is_file()]
            self._kept.put([*names, *beside], gone)

    def keep_finished(self, *beside: str) -> None:
        """Keep the trained SAEs, and what is `beside` them, each SAE under its own name."""
        saes = [str(self.sae_path(name).relative_to(self.path)) for name in self.settings["saes"]]
        if self._kept is not None:
            for name in saes:
                self._kept.publish(name)
        self._keep(*saes, *beside)

    def _compare(self, known: Path) -> None:
        try:
            before = parse_json(known.read_bytes())
            different = {key for key in {*before, *self.settings} - {"held_out"} if before.get(key) != self.settings.get(key)}
        except (ValueError, AttributeError) as error:
            raise BadFile(f"{known} cannot be read ({error}). Begin in another folder, or remove this one.") from error
        if different:
            told = "; ".join(_difference(key, before.get(key), self.settings.get(key)) for key in sorted(different))
            raise BadConfig(f"{self.where} holds a run with other settings: {told}. Give the same ones to go on, or another folder.")

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """While inside, nobody else trains here; a second trainer is told so."""
        with sole_writer(self.path):
            if not (self.path / "run.json").is_file():
                self.write_settings()
            self._keep()
            yield

    def write_settings(self, **more: Any) -> None:
        """``run.json``, with `more` beside the settings."""
        with atomic_write(self.path / "run.json") as file:
            file.write((json.dumps(self.settings | more, indent=1) + "\n").encode())

    def event(self, kind: str, step: int, text: str = "", **more: Any) -> None:
        """Add a line to ``events.jsonl``."""
        self._append("events.jsonl", {"time": round(time.time(), 3), "kind": kind, "step": step, "text": text, **more})

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``."""
        self._append("metrics.jsonl", row)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        if not self.ranks.first:
            return
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise write_error(error, self.path / name) from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """The metrics written so far."""
        if (self.path / "metrics.jsonl").is_file():
            for line in (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                yield parse_json(line)

    def save(self, step: int, position: Mapping[str, Any] | None, trainers: Mapping[str, SaeTrainer]) -> None:
        """A checkpoint after `step`: when this returns it is on disk whole, and the ones before it are gone.

        Of several processes each writes its own part, and waits for nobody: a checkpoint is one once all its parts are there.
        """
        if self.ranks.lot:
            return  # another process has the same features
        metrics = self.path / "metrics.jsonl"
        target = self.path / "checkpoints" / f"step-{step:09d}"
        if self.ranks.parts > 1:
            target /= f"part-{self.ranks.part}-of-{self.ranks.parts}"
        about = {"schema": SCHEMA, "step": step, "position": position, "metrics_bytes": metrics.stat().st_size if metrics.is_file() else 0}
        write_state(target, about, trainers)
        if self._kept is not None:
            written = [str(path.relative_to(self.path)) for path in sorted(target.iterdir())]
            self._keep(*written, gone=_before(newest_whole([*self._kept.names, *written])))
        newest = self._checkpoints()[-1:]
        for older in (self.path / "checkpoints").glob("step-*"):
            if newest and older.name < newest[0].name:
                shutil.rmtree(older, ignore_errors=True)

    @property
    def step(self) -> int:
        """Steps done at the newest checkpoint, which a run goes on from; 0 where there is none."""
        return max((int(path.name.removeprefix("step-")) for path in self._checkpoints()), default=0)

    def _checkpoints(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        return sorted(path for path in (self.path / "checkpoints").glob("step-*") if _STEP.fullmatch(path.name) and parts_of(path))

    def restore(
        self, configs: Mapping[str, TrainConfig], device: str = "cpu"
    ) -> tuple[int, Mapping[str, Any] | None, dict[str, SaeTrainer]] | None:
        """Step, stream position and trainers of the newest checkpoint, the metrics cut back to it; None where there is none."""
        newest = self.ranks.told([path.name for path in self._checkpoints()[-1:]])
        metrics = self.path / "metrics.jsonl"
        if not newest:
            if self.ranks.first:
                metrics.unlink(missing_ok=True)
            return None
        checkpoint = Checkpoint(self.path / "checkpoints" / newest[0], configs, self.ranks)
        trainers = {name: checkpoint.trainer(name, device) for name in configs}
        for name, config in configs.items():
            kept, now = asdict(trainers[name].config), {key: value for key, value in asdict(config).items() if value is not None}
            if different := [_difference(key, kept[key], value) for key, value in now.items() if kept[key] != value]:
                raise BadConfig(f"the checkpoint {checkpoint.path} is of another {name}: {'; '.join(different)}. Name another folder.")
        if self.ranks.first and metrics.is_file():
            with metrics.open("r+b") as file:
                file.truncate(checkpoint.metrics_bytes)
        return checkpoint.step, checkpoint.position, trainers

    def trained(self, configs: Mapping[str, TrainConfig]) -> Iterator[SaeTrainer]:
        """The SAEs of the newest checkpoint whole, one after the other and each for export alone, wherever their parts were trained."""
        checkpoint = Checkpoint(self._checkpoints()[-1], configs, ALONE)
        for name in configs:
            yield checkpoint.trainer(name, "cpu", learns=False)

    @property
    def finished(self) -> bool:
        """Whether every SAE of the run is trained and written."""
        return all(self.sae_path(name).is_file() for name in self.settings["saes"])

    def sae_path(self, name: str) -> Path:
        """Where the SAE `name` goes once it is trained."""
        _, site, variant = name.split("/")
        return self.path / "saes" / site / f"{variant}.safetensors"


def _before(step: str) -> Callable[[str], bool]:
    """Whether a name is of a checkpoint before the one called `step`."""
    return lambda name: name.startswith("checkpoints/") and name.split("/")[1] < step


def _difference(key: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        inner = [name for name in {*before, *now} if before.get(name) != now.get(name)]
        return ", ".join(_difference(f"{key}.{name}", before.get(name), now.get(name)) for name in sorted(inner))
    if isinstance(before, dict) or isinstance(now, dict):  # an SAE of many settings
        return f"{key} was not part of it" if before is None else f"{key} was part of it"
    return f"{key} was {before!r} and is now {now!r}"
