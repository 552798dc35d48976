"""A planted model that reads two piles of texts whose differences are known."""

import planted
import pytest

from hooke import tiny
from hooke.analysis import Options, Reader


@pytest.fixture(scope="session")
def atlas(tmp_path_factory):
    """An atlas of the planted SAE."""
    return planted.write(tmp_path_factory.mktemp("atlas") / "atlas.sqlite", [tiny.sae()])


@pytest.fixture(scope="session")
def reader(atlas) -> Reader:
    """The planted model with its SAE and atlas."""
    return Reader(tiny.model(), [tiny.sae()], Options(), atlas=atlas)
