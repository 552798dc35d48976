"""Jacobian lens: fitted on text, and how often it names what comes later, beside the logit lens.

    python benchmarks/jacobian_lens.py fit CORPUS... --out runs/jacobian.safetensors --texts 100      goes on where it stopped

    python benchmarks/jacobian_lens.py measure CORPUS... --out runs/jacobian.safetensors --texts 24   on text held out

Each text of 128 tokens gives 128 of the 640 rows; a row takes 0.2 s of one core in bfloat16, 0.35 s in float32. Stop it at any time.
"""

import argparse
import itertools
import time
from pathlib import Path

LENGTH, ROWS, LATER = 128, 128, 16


def texts(options: argparse.Namespace, tokenizer, *, held_out: bool):
    """Token ids of text after text, each of the whole length."""
    from hooke.text.corpus import parse_corpora, windows

    found = windows(parse_corpora(options.corpora), tokenizer, length=LENGTH, seed=options.seed, held_out=held_out, epochs=1)
    return (window.ids for window in found if len(window.ids) == LENGTH)


def fit(options: argparse.Namespace) -> None:
    import torch

    from hooke.lens.jacobian import JacobianFit
    from hooke.model import Model

    model = Model.load(options.model)
    known = JacobianFit.load(options.out) if options.out.exists() else JacobianFit.begun(model)
    began = time.process_time()
    for ids in itertools.islice(texts(options, model.tokenizer, held_out=False), known.done, options.texts):
        known.add(model, torch.tensor(ids), ROWS)
        known.save(options.out)
        print(f"{known.done} of {options.texts} texts, {time.process_time() - began:.0f} s of processor time", flush=True)


def measure(options: argparse.Namespace) -> None:
    """pass@10: how often one of the ten words likeliest by a lens comes 2 to 16 tokens later, a word that did not stand before.

    By chance: how often it comes in another text at the same place.
    """
    import torch

    from hooke.lens.jacobian import JacobianFit
    from hooke.model import Model
    from hooke.model.head import final_norm
    from hooke.names import Site

    model, known = Model.load(options.model, dtype="float32"), JacobianFit.load(options.out)
    norm, layers, places = final_norm(model.hf, model.architecture), range(1, model.n_layers - 1, 2), range(8, LENGTH - LATER, 6)
    texts_read = list(itertools.islice(texts(options, model.tokenizer, held_out=True), options.texts))
    hits = torch.zeros(len(layers), 4)
    for number, ids in enumerate(texts_read):
        later = [[new_words(model, other, place) for place in places] for other in (ids, texts_read[number - 1])]
        acts = model.capture(torch.tensor([ids]), [Site(layer, "resid_post") for layer in layers])
        for at, layer in enumerate(layers):
            hidden = acts[Site(layer, "resid_post")][0, list(places)]
            for lens, read in enumerate((hidden, known.transported(hidden, layer))):
                with torch.no_grad():
                    top = model.head.logits(norm(read)).topk(10).indices.tolist()
                for which, wanted in enumerate(later):
                    hits[at, 2 * lens + which] += sum(not words.isdisjoint(own) for words, own in zip(wanted, top, strict=True))
    n = len(texts_read) * len(places)
    behind = f"{int(known.texts.min())} to {int(known.texts.max())} texts behind each row"
    print(f"{n} places; {behind}; standard errors are below {50 / n**0.5:.1f}")
    print("| layer | logit lens | by chance | Jacobian lens | by chance |\n| --- | --- | --- | --- | --- |")
    for layer, row in zip(layers, (100 * hits / n).tolist(), strict=True):
        print(f"| {layer} | " + " | ".join(f"{value:.1f}" for value in row) + " |")


def new_words(model, ids: list[int], place: int) -> set[int]:
    """Tokens with a letter that come 2 to `LATER` tokens after a place and did not stand before."""
    before, later = ids[: place + 1], ids[place + 2 : place + LATER + 1]
    return {token for token in later if token not in before and any(map(str.isalpha, model.tokenizer.pieces([token])[0]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (fit, measure):
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
