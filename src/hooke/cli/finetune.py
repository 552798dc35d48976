"""`hooke finetune`: an SAE brought to keep what the model predicts."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.named import named
from hooke.cli.options import Context, Corpora, Device, Dtype, Json, OwnModel, Seed
from hooke.cli.output import Status, console_for, print_line, print_text, talk
from hooke.cli.progress import ProgressBar
from hooke.cli.values import BATCH, TOKENS
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.finetune import FinetuneProgress, TextBatch
    from hooke.model import Model
    from hooke.text.corpus import Window

_ROWS = {"error": ("fvu", "{:.4f}"), "KL": ("kl", "{:.4f}"), "loss rise": ("delta_loss", "{:+.4f}"), "L0": ("l0", "{:.1f}")}


def finetune(
    sae: Annotated[str, Parameter(help="An SAE's name (see `hooke saes`) or file.")],
    *,
    corpus: Corpora,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to learn from.")],
    out: Annotated[Path, Parameter(help="The .safetensors file to write.")],
    model: OwnModel = None,
    context: Context = 128,
    batch: Annotated[int, BATCH, Parameter(help="Windows per step.")] = 8,
    held_out: Annotated[int, TOKENS, Parameter(help="Held-out tokens: half set the thresholds, half give the figures.")] = 8192,
    lr: Annotated[float | None, Parameter(help="Learning rate at the beginning; by default a tenth of training's.")] = None,
    beta: Annotated[float, Parameter(help="Weight of the divergence beside the error.")] = 1.0,
    share: Annotated[float, Parameter(help="Share of the positions where predictions are compared; fewer cost less.")] = 1.0,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fine-tune a trained SAE so that the model predicts with its reconstructions what it predicts without."""
    _check(corpus, out, {"tokens": tokens, "batch": batch, "held-out": held_out, "context": context - 1})
    with Status() as status:
        [place] = named([sae])
        from hooke.finetune import FinetuneConfig, check
        from hooke.finetune import finetune as run
        from hooke.model import Model
        from hooke.sae.fits import model_of
        from hooke.sanity import strangers
        from hooke.text.corpus import parse_corpora, windows

        config = FinetuneConfig(tokens, lr, beta, share, seed)
        corpora = parse_corpora(corpus)
        found = place.open()
        loaded = Model.load(model or model_of([found]), dtype=dtype, device=device, progress=status)
        check(found, loaded)
        for doubt in strangers(loaded, [found]):
            status.note(f"note: {doubt}")
        text = (windows(corpora, loaded.tokenizer, length=context, seed=seed, held_out=held) for held in (True, False))
        spare, stream = (_batches(loaded, one, batch) for one in text)
        held = _first(spare, held_out)
        status("Measuring on held-out text")
    began = time.monotonic()
    with ProgressBar().begin(tokens, "tokens", "measuring on held-out text") as bar:
        tuned = run(found.to(device), loaded, stream, held, config, lambda done: bar.move(done.tokens, _told(done))).to("cpu")
    record = tuned.facts.training["finetuned"]
    record |= {"corpora": {one.name: one.weight for one in corpora}, "context": context, "windows": batch, "seed": seed}
    tuned.save(out)
    seconds = round(time.monotonic() - began, 1)
    if json:
        print_line({"sae": tuned.name, "from": found.name, "file": str(out), "seconds": seconds, **record})
        return
    _print(record)
    from hooke.text.figures import left_out

    talk(f"Wrote {out}: {tuned.name}, from {record['tokens']:,} tokens in {seconds:,.0f} s; {left_out(**record['left_out'])}.")


def _check(corpus: tuple[str, ...], out: Path, counts: dict[str, int]) -> None:
    if not corpus:
        raise BadConfig("no text to learn from. Give --corpus FILE, JSON Lines with a 'text' (.zst too); several are mixed, FILE=WEIGHT.")
    for name, value in counts.items():
        if value < 1:
            raise BadConfig(f"--{name} must be at least {2 if name == 'context' else 1}.")
    if out.suffix != ".safetensors":
        raise BadConfig(f"cannot write {out}: an SAE's file ends in .safetensors.")
    if out.exists():
        raise BadConfig(f"{out} is there already; write to another file, or remove it first.")


def _batches(model: "Model", text: "Iterator[Window]", size: int) -> "Iterator[TextBatch]":
    """The windows of `text`, so many at a time."""
    from hooke.finetune import TextBatch

    while chosen := list(itertools.islice(text, size)):
        rows = [window.ids for window in chosen]
        ids, keep = model.padded(rows)
        yield TextBatch(ids, keep, sum(map(len, rows)) - int(keep.sum()))


def _first(batches: "Iterator[TextBatch]", tokens: int) -> "list[TextBatch]":
    """The first batches that hold so many counted tokens, or all there are."""
    taken, count = [], 0
    for batch in batches:
        taken.append(batch)
        count += int(batch.keep.sum())
        if count >= tokens:
            break
    return taken


def _told(done: "FinetuneProgress") -> str:
    return f"{done.tokens_per_s:,.0f} tokens/s  KL {done.kl:.4f}  MSE {done.mse:,.4g}"


def _print(record: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("")
    for heading in ("before", "after"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading, (key, form) in _ROWS.items():
        table.add_row(heading, *(form.format(record[time][key]) for time in ("before", "after")))
    console_for().print(table)
    print_text(
        f"On {record['after']['tokens']:,.0f} held-out tokens. Error: share of variance unexplained. KL and loss rise: what it costs the "
        "model's predictions to put the reconstruction in the activations' place, in nats per token."
    )
