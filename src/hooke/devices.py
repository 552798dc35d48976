"""Devices: where torch computes, by name."""

import torch

from hooke.errors import BadConfig

__all__ = ["usable_device"]


def usable_device(name: str) -> torch.device:
    """The device called `name`, such as ``cpu`` or ``cuda:1``. Raises `BadConfig` where this machine or this torch has none of the kind."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BadConfig(f"cannot compute on {name!r}: {reason}. Use cpu, or a torch and a driver that know this device.") from error
    return device
