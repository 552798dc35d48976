"""Forward hooks: capture tensors at places in a model, replace them, and stop the pass once nothing more is wanted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hooke.errors import ShapeMismatch
from hooke.names import Site


@dataclass(frozen=True)
class Located:
    """A place a hook can be put: what goes into a module, or what comes out of it."""

    module: nn.Module
    """The module whose input or output is the site's tensor."""
    side: Literal["input", "output"]
    """Which of the two."""
    shared: bool = False
    """The block goes on to use the very tensor that the module was given, so an edit has to write into it (``resid_mid``)."""


class _Stop(Exception):
    """Ends a forward pass that has given all that was wanted; `owner` is the dictionary of the capture that asked for it."""

    def __init__(self, owner: dict[Site, Tensor]) -> None:
        self.owner = owner


@contextmanager
def capturing(located: Mapping[Site, Located], stop_after: Site | None = None) -> Iterator[dict[Site, Tensor]]:
    """A dictionary that a forward pass inside the block fills with the tensor at each site.

    The pass ends, and the block with it, as soon as the tensor at `stop_after` is there. The tensors are the model's own, not copies.
    """
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Callable[[Tensor], None]:
        def see(tensor: Tensor) -> None:
            found[site] = tensor
            if site == stop_after:
                raise _Stop(found)

        return see

    handles: list[RemovableHandle] = []
    try:
        for site, place in located.items():
            handles.append(_hook(place, keep(site)))
        yield found
    except _Stop as stop:
        if stop.owner is not found:  # an outer capture's; not ours to end
            raise
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def editing(located: Located, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block, every forward pass goes on with ``fn(tensor)`` in place of the tensor at `located`.

    The result is brought to the tensor's dtype and device. A capture started inside the block sees the edited tensor.
    """

    def replace(tensor: Tensor) -> Tensor:
        # What is written into has to be out of reach of fn's autograd graph, or backward would find it changed.
        new = edited(fn, tensor.clone() if located.shared else tensor)
        return tensor.copy_(new) if located.shared else new

    handle = _hook(located, replace)
    try:
        yield
    finally:
        handle.remove()


def edited(fn: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """``fn(tensor)`` in the dtype of `tensor`. Raises `ShapeMismatch` for what is no tensor of the same shape."""
    new = fn(tensor)
    if not isinstance(new, Tensor) or new.shape != tensor.shape:
        found = list(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise ShapeMismatch(f"an edit must keep the tensor's shape: it was given {list(tensor.shape)} and returned {found}.")
    return new.to(tensor)


@runtime_checkable
class Placed(Protocol):
    """Where something reads and writes in a model."""

    @property
    def input_sites(self) -> Sequence[Site]:
        """The sites whose activations, side by side, it reads."""
        ...

    @property
    def output_sites(self) -> Sequence[Site]:
        """The sites whose activations, side by side, it rebuilds."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """What can stand in for activations: an SAE, or anything else that says where it belongs and rebuilds them."""

    @property
    def facts(self) -> Placed:
        """Where it belongs."""
        ...

    def reconstruct(self, acts: Tensor) -> Tensor:
        """``[batch, pos, d_out]`` from ``[batch, pos, d_in]``."""
        ...


@dataclass
class Spliced:
    """How many positions went through a splice, of all passes so far."""

    tokens: int = 0
    """Positions that hold what was rebuilt."""
    sinks: int = 0
    """Attention sinks, which kept their activations."""
    special: int = 0
    """Special tokens, padding among them, which kept theirs."""

    def add(self, calm: Bool[Tensor, "batch pos"], special: Bool[Tensor, "batch pos"]) -> None:
        """Count one pass: `calm` are no sinks."""
        self.tokens += int((calm & ~special).sum())
        self.sinks += int((~calm & ~special).sum())
        self.special += int(special.sum())


@contextmanager
def inputs_of(base: nn.Module) -> Iterator[Mapping[str, Any]]:
    """A dictionary that holds the keyword arguments of the forward pass of `base` that is under way.

    Under ``start`` it says how many positions a key-value cache holds already.
    """
    now: dict[str, Any] = {}

    def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        now.clear()
        cache = kwargs.get("past_key_values")
        now.update(kwargs, start=0 if cache is None else int(cache.get_seq_length()))

    handle = base.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield now
    finally:
        handle.remove()


def run_until(base: nn.Module, located: Mapping[Site, Located], stop: Site, **inputs: object) -> dict[Site, Tensor]:
    """The tensors at `located` from one pass of `base` over `inputs`, in which nothing after `stop` is computed."""
    with capturing(located, stop) as found:
        base(**inputs)
    if absent := sorted(located.keys() - found.keys()):
        raise ShapeMismatch(f"the forward pass never came to {', '.join(map(str, absent))} before it ended at {stop}.")
    return found


def _hook(located: Located, fn: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """A hook that shows `fn` the tensor at `located` and, when `fn` returns one, puts that in its place."""
    if located.side == "output":
        return located.module.register_forward_hook(lambda module, args, output: _output(fn, output))
    return located.module.register_forward_pre_hook(lambda module, args, kwargs: _input(fn, args, kwargs), with_kwargs=True)


def _output(fn: Callable[[Tensor], Tensor | None], output: Any) -> Any:
    """`output` with its (first) tensor replaced, or None to leave it alone: attention modules return tuples, blocks may."""
    if not isinstance(output, tuple):
        return fn(output)
    new = fn(output[0])
    return None if new is None else (new, *output[1:])


def _input(fn: Callable[[Tensor], Tensor | None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
    """The arguments with the first replaced, or None to leave them alone; some callers pass it as ``hidden_states=``."""
    new = fn(args[0] if args else kwargs["hidden_states"])
    if new is None:
        return None
    return ((new, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": new})
