"""Jacobian lens: fitted on text, and how often it names what comes later, beside the logit lens.

    python benchmarks/jacobian_lens.py fit CORPUS... --out runs/jacobian.safetensors --texts 100      goes on where it stopped

Each text of 64 tokens takes one backward pass for each of 64 of the 640 rows: a third of a second of one core a row. Stop it at any time.
"""

import argparse
import itertools
import time
from pathlib import Path

LENGTH, ROWS = 64, 64


def texts(options: argparse.Namespace, tokenizer, *, held_out: bool):
    """Token ids of text after text, each of the whole length."""
    from hooke.text.corpus import parse_corpora, windows

    found = windows(parse_corpora(options.corpora), tokenizer, length=LENGTH, seed=options.seed, held_out=held_out, epochs=1)
    return (window.ids for window in found if len(window.ids) == LENGTH)


def fit(options: argparse.Namespace) -> None:
    import torch

    from hooke.lens.jacobian import JacobianFit
    from hooke.model import Model

    model = Model.load(options.model, dtype="float32")
    known = JacobianFit.load(options.out) if options.out.exists() else JacobianFit.begun(model)
    began = time.process_time()
    for ids in itertools.islice(texts(options, model.tokenizer, held_out=False), known.done, options.texts):
        known.add(model, torch.tensor(ids), ROWS)
        known.save(options.out)
        print(f"{known.done} of {options.texts} texts, {time.process_time() - began:.0f} s of processor time", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (fit,):
        own = commands.add_parser(run.__name__)
        own.add_argument("corpora", nargs="+")
        own.add_argument("--out", type=Path, required=True)
        own.add_argument("--model", default="gemma-3-270m")
        own.add_argument("--texts", type=int, default=100)
        own.add_argument("--seed", type=int, default=0)
        own.set_defaults(run=run)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
