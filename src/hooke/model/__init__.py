"""Model: run a causal language model and read or write inside it."""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.devices import fast_dtype, usable_device
from hooke.errors import BadConfig, LimitReached, unknown
from hooke.metrics import concat_sites, not_sinks
from hooke.model.alone import alone, laid_out
from hooke.model.architectures import Architecture, architecture_of, verify
from hooke.model.carried import CARRIED, carried_folder
from hooke.model.faster import bound_products, hasten
from hooke.model.head import Head
from hooke.model.hooks import Reconstructs, Spliced, capturing, edited, editing, inputs_of, run_until
from hooke.model.inputs import Activations, Tokens, pad, read_tokens
from hooke.model.sampling import Look, generate
from hooke.model.trunk import TextConfig, load_trunk, read_config, tokenizer_in
from hooke.names import Site, model_name
from hooke.text.tokens import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hooke.model.spread import Spread

__all__ = ["Activations", "Model", "length_batches", "pad"]

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}


class Model:
    """A causal language model to look into."""

    ref: str | None = None
    """What it was loaded by; None for one that was made of its parts."""
    spread: "Spread | None" = None
    """How it lies on several devices, where it can be read and nothing else; None for a model that is whole."""
    _trunk: torch.nn.Module
    _loads: tuple[Path, torch.dtype]

    def __init__(self, hf: "PreTrainedModel", tokenizer: Tokenizer, name: str) -> None:
        """Wrap a loaded Hugging Face model; the architecture's row is verified against it here.

        Raises `UnknownName` for an architecture without a row, `ShapeMismatch` where the row does not fit, `BadConfig` for Gemma in
        float16: its residual stream grows past 65,504, the largest float16, so that every activation becomes infinite.
        """
        self._settle(hf.config, tokenizer, name)
        if hf.dtype == torch.float16 and self.architecture.model_type.startswith("gemma"):
            raise BadConfig("Gemma's residual stream overflows float16. Load the model with dtype='bfloat16' or 'float32'.")
        self.hf = self._prepared(hf)

    def _settle(self, config: Any, tokenizer: Tokenizer, name: str) -> None:
        self._config, self.tokenizer, self.name = config, tokenizer, name
        self.architecture: Architecture = architecture_of(config)
        bound_products()

    def _prepared(self, hf: "PreTrainedModel") -> "PreTrainedModel":
        verify(hf.eval().requires_grad_(False), self.architecture)
        hasten(hf)
        return hf

    @classmethod
    def _of_trunk(cls, folder: Path, config: TextConfig, name: str, dtype: torch.dtype, place: torch.device) -> "Model":
        """A carried model, computed by its trunk until its `hf` is asked for."""
        model = cls.__new__(cls)
        model._settle(config, tokenizer_in(folder, config), name)
        model._trunk = load_trunk(folder, config, dtype).to(place)
        hasten(model._trunk)
        model._loads = folder, dtype
        return model

    @cached_property
    def hf(self) -> "PreTrainedModel":
        """The Hugging Face model. A carried one is loaded when it is first asked for: `capture` has no need of it until then."""
        from hooke.model.loading import load_hf

        folder, dtype = self._loads
        hf = load_hf(folder, dtype, self.name)
        torch.nn.Module.to(hf, self.device)
        return self._prepared(hf)

    @cached_property
    def head(self) -> Head:
        """The LM head."""
        self._check_whole("asked what it predicts")
        return Head(self.hf)

    @property
    def loaded(self) -> bool:
        """Whether its `hf` is here."""
        return "hf" in vars(self)

    @property
    def _running(self) -> torch.nn.Module:
        """What computes activations: the trunk, unless the whole model is here, whose modules others may hold hooks on."""
        return self.hf if self.loaded else self._trunk

    @property
    def blocks(self) -> torch.nn.ModuleList:
        """The layers of what computes activations. Whoever asks for `hf` later has that model's own from then on."""
        lists = (part for part in self._running.modules() if isinstance(part, torch.nn.ModuleList))
        return next(part for part in lists if len(part) == self.n_layers)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self._running.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return next(self._running.parameters()).dtype

    @classmethod
    def load(
        cls,
        ref: str | Path = "gemma-3-270m",
        *,
        dtype: str = "auto",
        device: str = "cpu",
        spread: bool = False,
        progress: Callable[[str], None] = lambda _: None,
    ) -> "Model":
        """The model `ref`: a carried one by name (no network), a folder, or ``org/name`` on a model hub.

        It computes in `dtype`; ``auto`` is bfloat16 where that is fast, and float32 on a processor without instructions for it.
        `progress` hears one sentence before anything that takes long.

        With `spread` it lies over all devices of this machine, GPUs first, or, of processes that have joined, a part of every layer in each
        (`Spread`): `capture` gives what it would elsewhere; what changes a pass or asks for predictions raises `BadConfig`.
        """
        ref = os.path.expanduser(ref)
        if dtype not in ("auto", *_DTYPES):
            raise unknown("dtype", dtype, ("auto", *_DTYPES))
        if dtype == "float16" and ref in CARRIED and "gemma" in ref:  # others are told from their configuration, once loaded
            raise BadConfig("Gemma's residual stream overflows float16. Use dtype='bfloat16' or 'float32'.")
        place = usable_device("cuda" if spread and torch.cuda.is_available() else device)
        folder = carried_folder(ref, progress) if ref in CARRIED else ref
        if isinstance(folder, str) and "/" not in folder and not os.path.isdir(folder):
            raise unknown("model", ref, CARRIED, "A model is a name from this list, a folder, or org/name on a model hub.")
        number = _DTYPES.get(dtype, fast_dtype(place))
        if spread:
            from hooke.model.spread import Spread, load_spread

            hf, tokenizer = load_spread(folder, number, ref)
            model = cls.__new__(cls)
            model._settle(hf.config, tokenizer, model_name(ref))
            verify(hf.eval().requires_grad_(False), model.architecture)
            model.hf, model.spread = hf, Spread(model._pass)
        elif isinstance(folder, Path) and (config := read_config(folder)) is not None:
            model = cls._of_trunk(folder, config, ref, number, place)
        else:
            from hooke.model.loading import load

            hf, tokenizer = load(folder, number, ref)
            torch.nn.Module.to(hf, place)
            model = cls(hf, tokenizer, model_name(ref))
        model.ref = ref
        return model

    def _check_whole(self, what: str) -> None:
        if self.spread:
            raise BadConfig(f"{self.name} is spread over devices, where it can be read (`hooke harvest`) and not be {what}. Load it whole.")

    def __repr__(self) -> str:
        config, weights = self._config.get_text_config(), f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        made = f"{self.architecture.model_type}, {self.n_layers} layers, d_model {config.hidden_size:,}, vocabulary {config.vocab_size:,}"
        return f"Model({self.name!r}: {made}, {weights})"

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.architecture.n_layers(self._config)

    @property
    def context(self) -> int:
        """The longest run of tokens the model was made for."""
        return int(getattr(self._config.get_text_config(), "max_position_embeddings", 1024))

    def check_length(self, tokens: int) -> None:
        """Raise `LimitReached` for a text of more tokens than the model was made for."""
        if tokens > self.context:
            raise LimitReached(f"the text has {tokens:,} tokens; {self.name} reads at most {self.context:,}. Give a shorter one.")

    def sites(self) -> list[Site]:
        """Every site of the model, in the order they are computed."""
        return self.architecture.sites(self._config)

    def width(self, site: Site | str) -> int:
        """Values per token at `site`."""
        site = Site.parse(site)
        self.architecture.locate(self._running, site)
        return self.architecture.width(self._config, site)

    def capture(self, tokens: Tokens, sites: Site | str | Sequence[Site | str], *, lengths: Sequence[int] | None = None) -> Activations:
        """Activations at one site or several from one forward pass; nothing above the highest one is computed, no LM head.

        `tokens` is a text, several, or token ids. Rows shorter than the longest are padded on the right: attention is causal, so padding
        changes nothing to its left, and `Activations.keep` says what is neither padding nor a special token. With `lengths`, the tokens of
        each row, a carried model on a CPU gives each row the same numbers to the bit whatever it is read with, on any number of threads.
        """
        wanted = [Site.parse(site) for site in ([sites] if isinstance(sites, str | Site) else sites)]
        if not wanted:
            raise BadConfig(f"no site to capture at. A site is written kind.layer, for example {self.sites()[-1]}.")
        ids, real = read_tokens(tokens, self.tokenizer)
        here = None if lengths is None or self.loaded else torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
        read = ids if here is None else ids[here][None]
        with torch.inference_mode(), alone([] if here is None or lengths is None else lengths):
            found = self._pass(read, wanted) if self.spread is None else self.spread.ask(read, wanted)
            if here is not None:
                found = {site: laid_out(acts[0], here) for site, acts in found.items()}
        return Activations(found, ids, real & ~self.is_special(ids))

    def _pass(self, ids: Int[Tensor, "batch pos"], sites: Sequence[Site]) -> dict[Site, Float[Tensor, "batch pos d_site"]]:
        located = {site: self.architecture.locate(self._running, site) for site in sites}
        base, highest = self.architecture.base(self._running), max(sites, key=self.architecture.order)
        found = run_until(base, located, highest, input_ids=ids.to(self.device), use_cache=False)
        return {site: acts.to(self.device) for site, acts in found.items()}

    @contextlib.contextmanager
    def edit(self, site: Site | str, fn: Callable[[Tensor], Tensor], *, special: bool = True) -> Iterator[None]:
        """While inside, every forward pass continues from ``fn(acts)`` at `site`, acts ``[batch, pos, d_site]``.

        With ``special=False`` the beginning-of-sequence token and other special ones keep the activations they have.
        """
        self._check_whole("changed")
        located = self.architecture.locate(self.hf, Site.parse(site))
        if special:
            with editing(located, fn):
                yield
            return
        with inputs_of(self._base) as inputs:

            def put(acts: Tensor) -> Tensor:
                return torch.where(self.is_special(inputs["input_ids"])[..., None], acts, edited(fn, acts))

            with editing(located, put):
                yield

    @contextlib.contextmanager
    def splice(self, sae: Reconstructs) -> Iterator[Spliced]:
        """While inside, every forward pass continues from what `sae` rebuilds in place of the activations it was made to rebuild.

        Special tokens and attention sinks keep theirs: no SAE is trained on them, and the rest of the model leans on them. Raises
        `BadConfig` for an SAE that reads above a site that it writes, as crosscoders do: one pass cannot hold it. What is given back
        counts the positions as passes are made.
        """
        reads, writes = sae.facts.input_sites, sae.facts.output_sites
        last, first = self.architecture.one_pass(sae.facts)
        widths, rebuilt, calm = [self.width(site) for site in writes], dict[Site, Tensor](), torch.empty(0)
        counts = Spliced()

        def put(site: Site, acts: Tensor) -> Tensor:
            nonlocal calm
            if site == first:
                everyone = torch.ones(read[last].shape[:2], dtype=torch.bool, device=read[last].device)
                calm = not_sinks([read[site] for site in reads], everyone)
                counts.add(calm, self.is_special(inputs["input_ids"]))
                calm = calm[..., None]
                parts = sae.reconstruct(concat_sites(read, reads)).split(widths, -1)
                rebuilt.update(zip(writes, parts, strict=True))
            return torch.where(calm, rebuilt[site], acts)

        located = {site: self.architecture.locate(self.hf, site) for site in reads}
        with capturing(located) as read, inputs_of(self._base) as inputs, contextlib.ExitStack() as stack:
            for site in writes:
                stack.enter_context(self.edit(site, functools.partial(put, site), special=False))
            yield counts

    @torch.inference_mode()
    def loss(self, tokens: Tokens) -> Float[Tensor, "batch pos_minus_one"]:
        """Cross-entropy in nats of each next token, ``-ln p(ids[:, t+1] | ids[:, :t+1])``, of a text, several, or token ids.

        Where a shorter text has ended stands NaN. Logits are made in pieces, never all at once.
        """
        ids, real = read_tokens(tokens, self.tokenizer)
        hidden = self.hidden(ids)[:, :-1]
        flat, targets = hidden.flatten(0, 1), ids[:, 1:].flatten().to(hidden.device)
        out = torch.empty(len(flat), device=flat.device)
        for rows, log_p in self.head.log_probs(flat):
            out[rows] = -log_p.gather(1, targets[rows, None])[:, 0]
        return out.view(hidden.shape[:2]).masked_fill(~real[:, 1:].to(out.device), torch.nan)

    @torch.inference_mode()
    def logits(self, tokens: Tokens) -> Float[Tensor, "batch pos vocab"]:
        """What the model predicts after each token of a text, of several, or of token ids, in float32; all of it is held at once."""
        return self.head.logits(self.hidden(read_tokens(tokens, self.tokenizer)[0]))

    def hidden(self, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """What the LM head reads, at every position."""
        return self._base(input_ids=ids.to(self.device), use_cache=False).last_hidden_state

    def is_special(self, ids: Int[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
        """Which of `ids` are special tokens, as the beginning-of-sequence token is."""
        return torch.isin(ids, self._special.to(ids.device))

    @cached_property
    def _special(self) -> Int[Tensor, " n"]:
        return torch.tensor(sorted(self.tokenizer.special), device=self.device)

    def one_text(self, text: str) -> tuple[Int[Tensor, "1 pos"], Bool[Tensor, " pos"]]:
        """The ids of a text that is read whole, and which of them are no special tokens.

        Raises `BadConfig` for a text without a token, `LimitReached` for one longer than the model's context.
        """
        ids = torch.tensor(self.tokenizer.encode([text]))
        self.check_length(ids.shape[1])
        shown = ~self.is_special(ids[0])
        if not bool(shown.any()):
            raise BadConfig("there is nothing to read: the text has no token.")
        return ids, shown

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
        """Token ids as one matrix, padded on the right, and which of its positions hold text: neither padding nor special tokens."""
        ids, real = pad(rows)
        return ids, real & ~self.is_special(ids)

    @property
    def _base(self) -> torch.nn.Module:
        self._check_whole("asked what it predicts")
        return self.architecture.base(self.hf)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Int[Tensor, "batch pos"],
        tokens: int,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        alike: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Int[Tensor, "batch total"]:
        """`prompts` continued by up to `tokens` tokens each, sampled at `temperature` (0: the likeliest); rows that ended are padded.

        Rows that are shorter than the longest are filled up on the right with -1, and sampled from there on. If `alike`, all rows draw
        with the same random numbers. `progress` hears how many tokens each row has got so far.
        """
        prompts = prompts.to(self.device)
        columns = [prompts[:, : int((prompts >= 0).sum(1).min())]]
        for count, column in enumerate(self.sampled(prompts, tokens, temperature=temperature, seed=seed, alike=alike), 1):
            columns.append(column[:, None])
            progress(count)
        return torch.cat(columns, 1)

    @torch.inference_mode()
    def sampled(
        self,
        prompts: Int[Tensor, "batch pos"],
        tokens: int,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        alike: bool = False,
        follow: Int[Tensor, " batch"] | None = None,
        look: Look = lambda logits, chosen: None,
    ) -> Iterator[Int[Tensor, " batch"]]:
        """The tokens that `generate` adds, as they are drawn: one for each row at a time.

        With `follow` a row goes on with what was drawn for the row of that number. `look` hears each step's logits and tokens.
        """
        self._check_whole("asked what it predicts")
        if not 0 <= temperature < math.inf or tokens < 0:
            raise BadConfig(
                f"cannot sample {tokens} tokens at temperature {temperature}; neither may be negative, and both must be finite."
            )
        drawn = {"temperature": temperature, "seed": seed, "alike": alike, "follow": follow, "look": look}
        yield from generate(self.hf, prompts.to(self.device), tokens, **drawn)


def length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of texts in batches of like length, longest first, each at most `batch_tokens` padded tokens (at least one text).

    A batch ends, too, where its padding would come to more than a 25th of that: about what a batch costs beside its tokens.

    >>> list(length_batches([3, 9, 3, 2], batch_tokens=9))
    [[1], [0, 2], [3]]
    """
    batch: list[int] = []
    padding = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batch[0]] if batch else lengths[index]
        padding += longest - lengths[index]
        if (len(batch) + 1) * longest > batch_tokens or padding > batch_tokens // 25:
            if batch:
                yield batch
            batch, padding = [], 0
        batch.append(index)
    if batch:
        yield batch
