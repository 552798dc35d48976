"""The CPU's kernels against the same naive twins as those of CUDA devices."""

import numba
import pytest
import torch
from kernels.test_cuda import (  # noqa: F401 (collected here, and run with this module's fixtures)
    always_sparse,
    test_above_is_the_naive_one,
    test_adam_is_torchs_and_unit_rows_stay_unit,
    test_dense_codes_go_through_dense_products,
    test_errors_and_gradients,
    test_largest_is_the_naive_one_whatever_the_guess,
    test_largest_per_token_is_the_naive_one_whatever_the_guess,
    test_nothing_is_kept_of_nothing,
    test_rows_longer_than_one_stretch,
    test_rows_wider_than_one_program,
)

from hooke.kernels import cpu

pytestmark = pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning")


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="module")
def kernels():
    """With one thread: arrays as small as these give several nothing but each other to wait for."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield cpu
    numba.set_num_threads(before)
