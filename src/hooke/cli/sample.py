"""`hooke sample`: text that a model writes itself."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.output import console_for, print_line, say
from hooke.cli.stopping import stoppable
from hooke.cli.values import BATCH, SEED, TOKENS, share

if TYPE_CHECKING:
    from rich.console import Console

    from hooke.model.sampled import Sampled


def sample(
    *,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to sample in all.")],
    out: Annotated[Path, Parameter(help="File to write, JSON Lines with id and text; .gz and .zst are packed.")],
    model: Annotated[str, Parameter(help="A carried model's name, a folder, or org/name on a hub.")] = "gemma-3-270m",
    length: Annotated[int, BATCH, Parameter(help="Most tokens of a document, its prompt not counted.")] = 128,
    temperature: Annotated[float, share(0, 100), Parameter(help="1 is the model's own distribution, 0 takes the likeliest token.")] = 1.0,
    seed: Annotated[int, SEED, Parameter(help="Decides what is drawn.")] = 0,
    batch: Annotated[int, BATCH, Parameter(help="Documents sampled together; another number gives other documents.")] = 128,
    prompt: Annotated[tuple[str, ...], Parameter(negative="", help="Text to go on from; may be repeated. None: from nothing.")] = (),
    prompts: Annotated[Path | None, Parameter(help="A file of texts to go on from, each in turn.")] = None,
    device: Annotated[str, Parameter(help="Where the model runs, such as cpu or cuda.")] = "cpu",
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print a summary as one JSON document.")] = False,
) -> None:
    """Write text sampled from a model itself, to train on or to look at."""
    from hooke.text.intake import read_texts

    given = (*prompt, *(read_texts(prompts) if prompts is not None else ()))
    console = console_for(stderr=True)
    with console.status("Loading") as status:
        from hooke.model import Model
        from hooke.model.sampled import SampleConfig

        loaded = Model.load(model, device=device, progress=lambda text: say(console, status, text))
    from hooke.model.sampled import sample as run

    config = SampleConfig(tokens, length, batch, temperature, seed, given)
    bar = _Bar(console, tokens)
    with (
        bar.progress,
        stoppable(lambda: bar.say("Stopping after the batch at hand. Ask again to stop at once; it is then made again.")) as stop,
    ):
        for done in run(loaded, config, out, bar.move):
            bar.at(done)
            if stop and done.tokens < tokens:
                bar.say(f"Stopped after {done.tokens:,} tokens. The same command goes on from there.")
                raise SystemExit(stop.exit_code)
    if json:
        facts = {"documents": bar.documents, "tokens": bar.tokens, "new_tokens": bar.fresh, "tokens_per_s": round(bar.rate, 1)}
        print_line({"out": str(out), "model": loaded.name, "seed": seed, **facts})
    else:
        rate = f" at {bar.rate:,.0f} tokens/s" if bar.fresh else ""
        bar.say(f"Wrote {out}: {bar.documents:,} documents of {bar.tokens:,} tokens in all{rate}.")


class _Bar:
    """How many tokens there are, how fast they come, and how long it still takes: a bar on a terminal, else a line for each batch."""

    def __init__(self, console: "Console", total: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        told = TextColumn("{task.completed:,.0f} of {task.total:,.0f} tokens  {task.fields[rate]:,.0f} tokens/s ")
        self._console, self._total = console, total
        self.progress = Progress(BarColumn(), told, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self.progress.add_task("", total=total, rate=0.0)
        self._began = self._before = self._drawn = 0.0
        self.documents = self.tokens = self.fresh = 0
        self.rate = 0.0

    def move(self, tokens: int) -> None:
        """So many more tokens are drawn; their batch is not written yet."""
        self._drawn += tokens
        rate = (self.fresh + self._drawn) / (time.perf_counter() - self._began)
        self.progress.update(self._task, completed=min(self._total, self.tokens + self._drawn), rate=rate)

    def at(self, done: "Sampled") -> None:
        """`done` is written; the first time, by an earlier run."""
        now = time.perf_counter()
        if not self._began:
            self._began, self._before = now, done.tokens
        self.documents, self.tokens, self.fresh = done.documents, done.tokens, int(done.tokens - self._before)
        self.rate, self._drawn = self.fresh / max(now - self._began, 1e-9), 0
        self.progress.update(self._task, completed=min(self._total, self.tokens), rate=self.rate)
        if not self._console.is_terminal and (self.fresh or self.tokens):
            rate = f", {self.rate:,.0f} tokens/s" if self.fresh else " are there already"
            self.say(f"{self.tokens:,} of {self._total:,} tokens{rate}")

    def say(self, text: str) -> None:
        """A line of talk."""
        self._console.print(text, highlight=False, soft_wrap=True)
