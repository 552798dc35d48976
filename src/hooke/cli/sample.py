"""`hooke sample`: text that a model writes itself."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.options import Device, Json, ModelName, Seed
from hooke.cli.output import Status, print_line
from hooke.cli.progress import ProgressBar
from hooke.cli.stopping import stoppable
from hooke.cli.values import BATCH, TEXT, TOKENS, share


def sample(
    *,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to sample in all.")],
    out: Annotated[Path, Parameter(help="File to write, JSON Lines with id and text; .gz and .zst are packed.")],
    model: ModelName = "gemma-3-270m",
    length: Annotated[int, BATCH, Parameter(help="Most tokens of a document, its prompt not counted.")] = 128,
    temperature: Annotated[float, share(0, 100), Parameter(help="1 is the model's own distribution, 0 takes the likeliest token.")] = 1.0,
    seed: Annotated[Seed, Parameter(help="Decides what is drawn.")] = 0,
    batch: Annotated[int, BATCH, Parameter(help="Most documents sampled together; another number gives other documents.")] = 128,
    prompt: Annotated[tuple[str, ...], TEXT, Parameter(help="Text to go on from; may be repeated. None: from nothing.")] = (),
    prompts: Annotated[Path | None, Parameter(help="A file of texts to go on from, each in turn.")] = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Write text sampled from a model itself, to train on or to look at."""
    from hooke.text.intake import read_texts

    given = (*prompt, *(read_texts(prompts) if prompts is not None else ()))
    with Status() as status:
        from hooke.model import Model
        from hooke.model.sampled import SampleConfig

        loaded = Model.load(model, device=device, progress=status)
    from hooke.model.sampled import sample as run

    config = SampleConfig(tokens, length, batch, temperature, seed, given)
    documents = written = 0
    bar = ProgressBar().begin(tokens, "tokens")

    def drawn(more: int) -> None:
        nonlocal written
        written += more
        bar.move(written)

    with bar, stoppable(lambda: bar.say("Stopping after the batch at hand. Ask again to stop at once; it is then made again.")) as stop:
        for done in run(loaded, config, out, drawn):
            documents, written = done.documents, done.tokens
            bar.move(written)
            if stop and written < tokens:
                bar.say(f"Stopped after {written:,} tokens. The same command goes on from there.")
                raise SystemExit(stop.exit_code)
    if json:
        facts = {"documents": documents, "tokens": written, "new_tokens": bar.new, "tokens_per_s": round(bar.rate, 1)}
        print_line({"out": str(out), "model": loaded.name, "seed": seed, **facts})
    else:
        rate = f" at {bar.rate:,.0f} tokens/s" if bar.new else ""
        bar.say(f"Wrote {out}: {documents:,} documents of {written:,} tokens in all{rate}.")
