"""A text computed alone has the same numbers whatever it is read with and on any number of threads, and they are the usual ones."""

import random

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from hooke.harvest import harvest
from hooke.model import Model
from hooke.model.alone import ROWS, alone, in_blocks, linear, packed
from hooke.model.faster import hasten
from hooke.model.trunk import load_trunk, read_config
from hooke.names import Site
from hooke.text.corpus import Window
from hooke.text.tokens import Tokenizer

SITE = Site.parse("resid_post.2")
LENGTHS = [3, 7, 12, 14, 15, 31, 40, 90, 7, 12, 12, 14] * 4


class Ids(Tokenizer):
    """What a model asks of a tokenizer when it is given ids."""

    def __init__(self) -> None:
        self.special = {0, 2}

    def __len__(self) -> int:
        return 200


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [[2, *torch.randint(5, 200, (length,), generator=generator).tolist()] for length in LENGTHS]


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float32])
def model(request, tmp_path_factory):
    """Wide enough that libraries sum in several ways; layers look back over a window of 16, and over everything."""
    torch.manual_seed(0)
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    ropes = {kind: {"rope_theta": theta, "rope_type": "default"} for kind, theta in (("full_attention", 1e6), ("sliding_attention", 1e4))}
    config = Gemma3TextConfig(
        vocab_size=200, hidden_size=256, intermediate_size=1024, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        head_dim=64, query_pre_attn_scalar=64, sliding_window=16, layer_types=kinds, rope_parameters=ropes, max_position_embeddings=128,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("alone")
    Gemma3ForCausalLM(config).to(request.param).save_pretrained(folder)
    found = read_config(folder)
    assert found is not None
    made = Model.__new__(Model)
    made._settle(found, Ids(), "alone")
    made._trunk = load_trunk(folder, found, request.param)
    hasten(made._trunk)
    return made


def read(model, texts, order, *, batch: int, threads: int, by_itself: bool = True) -> dict[int, torch.Tensor]:
    """The activations of each text, by its number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        windows = [Window("x", n, texts[n]) for n in order]
        out = {}
        for some in harvest(model, windows, [SITE], batch_tokens=batch, drop_sinks=False, alone=by_itself):
            for n, window in enumerate(some.windows):
                out[window.doc] = some.acts[SITE][some.window == n].clone()
        return out
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("columns", [1, 8, 33])
def test_rows_in_blocks_are_the_same_whatever_rows_stand_beside_them(columns):
    generator = torch.Generator().manual_seed(1)
    rows, weight = torch.randn(2 * ROWS + 77, 640, generator=generator), torch.randn(640, columns, generator=generator)
    wanted = in_blocks(lambda some: some @ weight, rows)
    torch.testing.assert_close(wanted, (rows.double() @ weight.double()).float(), atol=1e-3, rtol=1e-4)
    for start, stop in ((0, 1), (700, 701), (3, 40), (100, 1000), (ROWS, len(rows))):
        assert torch.equal(in_blocks(lambda some: some @ weight, rows[start:stop]), wanted[start:stop])


def test_the_same_bits_whatever_is_read_with_it(model, texts):
    everyone = list(range(len(texts)))
    wanted = read(model, texts, everyone, batch=1024, threads=1)
    some = random.Random(0).sample(everyone, 17)
    for order, batch, threads in ((everyone, 64, 1), (everyone, 4096, 2), (some, 512, 3), (some[:5], 64, 4), (some[:1], 1024, 2)):
        found = read(model, texts, order, batch=batch, threads=threads)
        assert all(torch.equal(found[n], wanted[n]) for n in order), (batch, threads)


def test_they_are_the_usual_numbers(model, texts):
    everyone = range(len(texts))
    ours, usual = (read(model, texts, everyone, batch=512, threads=1, by_itself=own) for own in (True, False))
    close = 3e-2 if model.dtype == torch.bfloat16 else 1e-5
    for n in everyone:
        torch.testing.assert_close(ours[n], usual[n], rtol=close, atol=close * float(usual[n].abs().max()))


def test_products_of_any_number_of_rows():
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    for rows in (1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS):
        x = torch.randn(1, rows, 8, generator=torch.Generator().manual_seed(rows))
        with alone([rows]):
            torch.testing.assert_close(linear(x, weight), x @ weight.T)
        assert torch.equal(linear(x, weight), torch.nn.functional.linear(x, weight))


def test_batches_hold_every_text_once_and_no_more_than_they_may():
    for tokens in (1, 20, 64, 1000):
        batches = list(packed(LENGTHS, tokens))
        assert sorted(n for batch in batches for n in batch) == list(range(len(LENGTHS)))
        assert all(len(batch) == 1 or sum(LENGTHS[n] for n in batch) <= tokens for batch in batches)
