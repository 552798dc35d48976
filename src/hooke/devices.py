"""Devices: where torch computes, by name, and in which numbers it is fast there; and memory that this one gets back."""

import contextlib
import ctypes
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from hooke.errors import BadConfig

__all__ = ["fast_dtype", "hand_back_memory", "multiplies_bfloat16", "one_thread_each", "threads", "usable_device"]

_shared: ContextVar[int] = ContextVar("threads", default=0)


def usable_device(name: str) -> torch.device:
    """The device called `name`, such as ``cpu`` or ``cuda:1``. Raises `BadConfig` where this machine or this torch has none of the kind."""
    if name == "auto":
        raise BadConfig("only `hooke harvest` reads with a model that is spread over devices (--device auto). Here give cpu or cuda.")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BadConfig(f"cannot compute on {name!r}: {reason}. Use cpu, or a torch and a driver that know this device.") from error
    return device


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are fast there. A processor without instructions for them takes a hundred times as long as in float32."""
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def fast_dtype(device: torch.device) -> torch.dtype:
    """What a model of bfloat16 weights computes in there unless told otherwise: bfloat16, or float32 where that is so much faster."""
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def hand_back_memory() -> None:
    """Return to the system what reading freed: glibc keeps it for itself, some 0.4 GB, and what follows needs it in other sizes."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def threads() -> int:
    """On how many threads work may be shared out."""
    return _shared.get() or torch.get_num_threads()


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Within, torch takes one thread for whatever it is asked; `threads` still tells how many there are."""
    before = torch.get_num_threads()
    token = _shared.set(threads())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _shared.reset(token)
