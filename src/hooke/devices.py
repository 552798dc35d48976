"""Devices: where torch computes, by name, and in which numbers it is fast there; and memory that this one gets back."""

import contextlib
import ctypes

import torch

from hooke.errors import BadConfig

__all__ = ["fast_dtype", "hand_back_memory", "multiplies_bfloat16", "usable_device"]


def usable_device(name: str) -> torch.device:
    """The device called `name`, such as ``cpu`` or ``cuda:1``. Raises `BadConfig` where this machine or this torch has none of the kind."""
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
