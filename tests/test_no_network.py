"""Nothing here talks to the outside: the guard works, and the demo's command needs no connection."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import no_network
import pytest

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import no_network
no_network.install(Path(sys.argv[2]))
del sys.argv[0:3]
"""


def run_guarded(code: str, args: list[str], log: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh Python that refuses connections and writes each attempt to `log`."""
    # As a person's shell would have it: without the offline switches that the test suite sets for itself.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    argv = [sys.executable, "-c", RUN + code, str(Path(no_network.__file__).parent), str(log), *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=500, env=clean | env, check=False)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
        lambda: socket.getaddrinfo("example.org", 443),
        lambda: socket.gethostbyname("example.org"),
    ],
    ids=["connect", "sendto", "getaddrinfo", "gethostbyname"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_guard_refuses_and_names_the_address(attempt):
    with pytest.raises(no_network.NetworkRefused, match=r"192\.0\.2\.1|example\.org"):
        attempt()
    assert no_network.attempts.pop().startswith("socket.")


def test_guard_lets_loopback_through():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        assert client.getpeername() == server.getsockname()
    assert socket.getaddrinfo("localhost", 80)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.2", True),
        ("::1", True),
        ("fe80::1%eth0", False),
        (b"localhost", True),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
    ],
)
def test_guard_knows_this_machine(host, local):
    assert no_network.is_local(host) is local


def test_guard_remembers_what_a_library_swallows(tmp_path):
    code = "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), timeout=1)\nexcept Exception:\n    pass\n"
    done = run_guarded(code, [], tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert "192.0.2.1" in (tmp_path / "log").read_text()


@pytest.mark.real
def test_demo_opens_no_connection(tmp_path):
    headlines = tmp_path / "headlines.txt"
    headlines.write_text("Central bank raises rates for the third time this year\nStriker scores twice as city rivals draw\n")
    report, log = tmp_path / "report.html", tmp_path / "log"
    main = "from hooke.cli import main\nsys.argv[:0] = ['hooke']\nmain()\n"
    done = run_guarded(main, ["analyze", str(headlines), "--json", "--html", str(report)], log)
    assert done.returncode == 0, done.stderr
    assert not log.exists(), f"the demo tried to connect:\n{log.read_text()}"
    found = json.loads(done.stdout)
    assert {"schema_version", "model", "saes", "texts", "topics"} <= set(found)
    assert [text["text"] for text in found["texts"]] == headlines.read_text().splitlines()
    assert all(text["features"] for text in found["texts"])
    page = report.read_text()
    assert "<html" in page
    assert 'src="http' not in page
    assert "@import" not in page
