"""A device is there, or it is said what is missing."""

import pytest
import torch

from hooke.devices import usable_device
from hooke.errors import BadConfig


def test_the_cpu_is_always_there() -> None:
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_what_is_not_there_is_said_in_a_sentence(name: str) -> None:
    with pytest.raises(BadConfig, match=rf"cannot compute on '{name}': .+ Use cpu, or a torch and a driver that know this device"):
        usable_device(name)
