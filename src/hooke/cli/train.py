"""`hooke train`: a suite of SAEs from one stream of activations."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Group, Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.fields import options
from hooke.cli.options import Device, Json
from hooke.cli.output import Status, console_for, print_line, print_text, talk
from hooke.cli.progress import ProgressBar
from hooke.cli.stopping import stoppable
from hooke.cli.values import BATCH, FEW, SEED, TOKENS, WIDTH, WINDOW, WORKERS, share
from hooke.errors import BadConfig, HookeError
from hooke.train.config import TrainConfig
from hooke.train.plan import DERIVED, VARIED, Plan, Wiring

if TYPE_CHECKING:
    from rich.text import Text

    from hooke.cli.train_ranks import Processes
    from hooke.train import Progress, RunFolder

_PAGE = "run.html"
# Seconds between two writings of the run's page.
_PAGE_EVERY = 30.0
# Share by which L0 on held-out text may miss its target before that is said.
_L0_OFF = 0.05
if TYPE_CHECKING:  # what was given of each, by the names of the fields
    _Run: TypeAlias = dict[str, Any]
    _Sae: TypeAlias = dict[str, Any]
    _Wiring: TypeAlias = dict[str, Any]
else:
    _READ = {"tokens": TOKENS, "batch": BATCH, "buffer": TOKENS, "context": WINDOW, "held_out": TOKENS, "seed": SEED}
    _READ |= {"d_sae": WIDTH, "prefixes": WIDTH, "dead_after": TOKENS, "bandwidth": share(1e-9, 1e12), "temperature": share(1e-6, 1e12)}
    _Run = options(Plan, Group("The run", sort_key=1), but=("saes",), read=_READ)
    _ALONE = Group("Without a suite: the SAEs, every combination of what is given several times", sort_key=2)
    _Sae = options(TrainConfig, _ALONE, but=DERIVED, many=VARIED, read=_READ, names={"seed": "--sae-seed"})
    _Wiring = options(Wiring, _ALONE, many=VARIED, read=_READ)


def train(
    suite: Annotated[Path | None, Parameter(help="A TOML file that says what to train; options take the place of its keys.")] = None,
    *,
    out: Annotated[str, Parameter(help="The run's folder or address (s3://...); the same command there goes on where it was stopped.")],
    run: Annotated[_Run | None, Parameter(name="*")] = None,
    wiring: Annotated[_Wiring | None, Parameter(name="*")] = None,
    sae: Annotated[_Sae | None, Parameter(name="*")] = None,
    checkpoint: Annotated[float, share(0.01, 10_000), Parameter(help="Minutes between checkpoints.")] = 10.0,
    device: Device = "cpu",
    nproc: Annotated[int, WORKERS, Parameter(help="Processes, each with a part of every SAE's features.")] = 1,
    replicas: Annotated[int, FEW, Parameter(help="Of these, how many have the same features and share out each batch.")] = 1,
    where: Engine = HERE,
    dry_run: Annotated[bool, Parameter(help="Only say what the run would take.")] = False,
    json: Json = False,
) -> None:
    """Train SAEs, one or a whole suite, from one pass over the activations."""
    plan = _plan(suite, run or {}, {**(wiring or {}), **(sae or {})})
    if where.engine != "here":
        _spread(plan, out, where, _Asked(device, checkpoint * 60, dry_run, json), nproc)
        return
    where.home(device, "auto")
    from hooke.cli.train_ranks import processes

    with processes(max(1, nproc), replicas, device) as found:
        if not found.ranks.first:
            found.follow(plan, out, device)
            return
        found.check(plan)
        _lead(plan, out, found, _Asked(device, checkpoint * 60, dry_run, json))


@dataclass(frozen=True)
class _Asked:
    """What a command was asked beside its plan."""

    device: str
    checkpoint_s: float
    dry_run: bool
    json: bool


def _lead(plan: Plan, out: str, found: "Processes", asked: _Asked) -> None:
    from hooke.train import RunFolder

    folder = RunFolder(out, plan.settings(), found.ranks)
    if folder.finished:
        talk(f"{out} holds this run, finished.")
        _summarize(folder, 0.0, as_json=asked.json)
        return
    with Status() as status:
        from hooke.cli.train_stream import Feed

        feed = Feed(plan, folder, status, asked.device)
        sheet = None
        if asked.dry_run or not folder.step:
            feed.cost(timed=False).refuse(folder.path)
            sheet = feed.cost(timed=True)
    if sheet is not None:
        from hooke.report.training_terminal import cost_table

        console_for(stderr=True).print(cost_table(sheet))
    if asked.dry_run:
        if asked.json and sheet is not None:
            print_line({"hours": sheet.total_hours, "memory_bytes": sheet.memory_bytes, "disk_bytes": sheet.disk_bytes})
        return
    began = time.monotonic()
    with folder.opened():
        found.begin()
        _run(plan, feed, folder, asked.checkpoint_s)
    _summarize(folder, time.monotonic() - began, as_json=asked.json)


def _spread(plan: Plan, out: str, where: Engine, asked: _Asked, nproc: int) -> None:
    """Each SAE a task of a cluster."""
    if nproc > 1 or asked.dry_run:
        what = "--nproc spreads each SAE over processes here" if nproc > 1 else "--dry-run measures this machine"
        raise BadConfig(
            f"{what}, and --engine {where.engine} gives whole SAEs to others: leave out one of the two. `hooke plan` says what they take."
        )
    where.home(asked.device, "auto")
    began = time.monotonic()
    with Status():
        from hooke.cli.train_cluster import train_spread
        from hooke.train import RunFolder

        folder = RunFolder(out, plan.settings())
    if folder.finished:
        talk(f"{out} holds this run, finished.")
    else:
        with where.joined(asked.device) as cluster, ProgressBar().begin(len(plan.saes), "SAEs") as bar:
            assert cluster is not None
            train_spread(plan, folder, cluster, asked.checkpoint_s, bar.move)
    _summarize(folder, time.monotonic() - began, as_json=asked.json)


def _plan(suite: Path | None, given: Mapping[str, Any], table: Mapping[str, Any]) -> Plan:
    if suite is not None:
        if table:
            raise BadConfig(f"{_flag(next(iter(table)))} is for runs without a suite; in a suite it stands under [[sae]].")
        return Plan.read(suite, given)
    if not {"site", "crosscoder"} & table.keys():
        raise BadConfig("nothing to train: name a suite (a TOML file), or at least one --site.")
    return Plan.parse({**given, "sae": [table]})


def _flag(key: str) -> str:
    return "--sae-seed" if key == "seed" else f"--{key.replace('_', '-')}"


def _run(plan: Plan, feed: Any, folder: "RunFolder", checkpoint_s: float) -> None:
    from hooke.train import Hooks

    if folder.step:
        talk(f"Going on after step {folder.step:,} of {plan.steps:,}.")
    feed.held_out()
    shown = _Shown(plan, folder)

    asked = "Stopping after this step, with a checkpoint. Ask again to stop at once, without one."
    with shown.bar, stoppable(lambda: shown.bar.say(asked)) as stop:
        try:
            feed.trained(plan, Hooks(shown.report, lambda: bool(stop), checkpoint_s))
        except KeyboardInterrupt:
            folder.event("stopped", shown.step, "asked to stop")
            shown.draw()
            if not stop:
                raise
            shown.bar.say(f"Stopped after step {shown.step:,}. The same command goes on from there.")
            raise SystemExit(stop.exit_code) from None
        except HookeError as error:
            folder.event("stopped", shown.step, str(error))
            shown.draw()
            raise
        folder.event("finished", shown.step)
        shown.draw()
        folder.keep_finished(_PAGE)


class _Shown:
    """How a run is doing, on the terminal and on its page."""

    def __init__(self, plan: Plan, folder: "RunFolder") -> None:
        from hooke.train.alarms import Watch

        self.folder = folder
        self.bar = ProgressBar().begin(plan.steps, "steps", "reading the first activations")
        self.step, self._drawn = folder.step, 0.0
        self._watch = Watch(folder.settings["saes"])
        for row in folder.rows():
            if row["step"] <= self.step:  # what came after the checkpoint comes again
                self._watch.see(row)
        folder.event("resumed" if folder.step else "started", self.step)

    def report(self, progress: "Progress") -> Sequence[str]:
        """Show it; what looks wrong."""
        self.step = progress.step
        self.bar.move(progress.step, _told(progress))
        warnings = [alarm.text for alarm in self._watch.see({"step": progress.step, "tokens": progress.tokens, "saes": progress.saes})]
        for text in warnings:
            self.bar.say(_alarm(text))
        if time.monotonic() - self._drawn > _PAGE_EVERY:
            self.draw()
        return warnings

    def draw(self) -> None:
        """Write the run's page."""
        from hooke.files import atomic_write
        from hooke.report.training import page

        with atomic_write(self.folder.path / _PAGE) as file:
            file.write(page(self.folder.path).encode())
        self._drawn = time.monotonic()


def _told(progress: "Progress") -> str:
    """Speed, error, L0 and dead features in a few words: of the SAE, or the range over all of them."""
    rows = list(progress.saes.values())
    fvu, l0, dead = ([row[key] for row in rows] for key in ("fvu", "l0", "dead"))
    if len(rows) == 1:
        return f"{progress.tokens_per_s:,.0f} tokens/s  error {fvu[0]:.4f}  L0 {l0[0]:.1f}  dead {dead[0]:.0f}"
    return (
        f"{progress.tokens_per_s:,.0f} tokens/s  error {min(fvu):.4f} to {max(fvu):.4f}  L0 {min(l0):.0f} to {max(l0):.0f}  "
        f"dead {min(dead):.0f} to {max(dead):.0f}"
    )


def _alarm(text: str) -> "Text":
    from rich.text import Text

    return Text.assemble(("! ", "yellow"), text)


def _summarize(folder: "RunFolder", seconds: float, *, as_json: bool) -> None:
    from hooke.sae import Sae

    paths = {name: folder.sae_path(name) for name in folder.settings["saes"]}
    off = [text for name in paths if (text := _off_target(name, folder.settings["saes"][name], Sae.read_facts(paths[name])[0].metrics))]
    rows = [{"sae": name, "file": str(path), **Sae.read_facts(path)[0].metrics} for name, path in paths.items()]
    if as_json:
        print_line({"run": folder.where, "seconds": round(seconds, 1), "saes": rows, "warnings": off})
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("SAE", overflow="fold")
    for heading in ("error", "L0", "dead"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["sae"], f"{row['fvu']:.4f}", f"{row['l0']:.1f}", f"{row['dead']:.1%}")
    console_for().print(table)
    page = f" Page: {folder.path / _PAGE}." if (folder.path / _PAGE).is_file() else ""
    for text in off:
        print_text(_alarm(text))
    print_text(f"Errors are shares of variance unexplained, on held-out text. SAEs: {folder.where}/saes.{page}")


def _off_target(name: str, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> str | None:
    """What to do about an L0 that is not what was asked for; None where it is."""
    wanted, found = settings["l0"], metrics["l0"]
    if abs(found - wanted) <= _L0_OFF * wanted:
        return None
    if "sparsity" in settings and settings["architecture"] not in ("batchtopk", "topk", "jumprelu"):
        side = "raise" if found > wanted else "lower"
        cure = f"It follows from sparsity={settings['sparsity']:g}: {side} that, or leave it out, and it is steered to l0"
    elif found < wanted:
        cure = "Too few features are alive or positive to fill it: train on more tokens, or lower l0"
    else:
        cure = "The held-out tokens are too few to set thresholds by: raise held_out"
    return f"{name}: L0 is {found:.1f} on held-out text; asked for was {wanted}. {cure}."
