"""Too little memory is one sentence with its exit code, however a library says it."""

import resource
import subprocess
import sys

import pytest

from hooke.errors import LimitReached

CODE = LimitReached.exit_code


def limited(size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``hooke`` in a process that may use so much address space."""
    return subprocess.run(
        [sys.executable, "-c", "from hooke.cli import main; main()", *arguments],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_where_torch_cannot_be_loaded_it_is_not_tried() -> None:
    done = limited(600 << 20, "analyze", "a text")
    assert done.returncode == CODE
    assert done.stderr.startswith("hooke: this process may use 600 MiB of address space, and torch alone takes more.")
    assert done.stderr.count("\n") == 1
    assert limited(600 << 20, "saes").returncode == 0


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (MemoryError(), resource.RLIM_INFINITY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            resource.RLIM_INFINITY,
        ),
        (RuntimeError("unable to mmap 536223056 bytes from file <x>: Cannot allocate memory (12)"), resource.RLIM_INFINITY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), resource.RLIM_INFINITY),
        (OSError(12, "Cannot allocate memory"), resource.RLIM_INFINITY),
        (ImportError("_helperlib.so: failed to map segment from shared object"), 1 << 30),
        (OSError("Could not find/load shared object file 'libllvmlite.so'"), 1 << 30),
    ],
)
def test_every_word_for_it_is_understood(command, monkeypatch, error: Exception, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr("hooke.sae.packs.installed_saes", lambda: (_ for _ in ()).throw(error))
    code, _, err = command("saes")
    less = "Give shorter texts, or a smaller --batch-tokens where the command has that."
    more = "This process may use 1,024 MiB of address space. Allow more, or take the limit away: ulimit -v unlimited"
    assert (code, err) == (CODE, f"hooke: out of memory. {less if limit == resource.RLIM_INFINITY else more}\n")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ImportError("No module named 'x'"), ImportError("failed to map segment")])
def test_a_defect_is_none_of_it(command, monkeypatch, error: Exception) -> None:
    monkeypatch.setattr("hooke.sae.packs.installed_saes", lambda: (_ for _ in ()).throw(error))
    with pytest.raises(type(error), match=str(error)):
        command("saes")
