"""`hooke serve` and `hooke open` as a person runs them: addresses, ports, ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import planted
import pytest

from hooke.serve.launch import PORT, listening
from hooke.serve.session import Session, announced

SAE = "tiny/resid_post.0/64"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_it_prints_an_address_answers_and_ends_as_it_is_told(home):
    atlas = planted.write(home / "atlas.sqlite")
    command = [sys.executable, "-c", "from hooke.cli import main; main()", "serve", "--no-open", "--model", "none", "--atlas", str(atlas)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stdout is not None
        link = server.stdout.readline().strip()
        address, _, token = link.partition("#k=")
        assert len(token) >= 43  # 256 bits
        asked = urllib.request.Request(f"{address}api/v1/about", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert json.load(answer)["features"] == 64
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{address}api/v1/about", timeout=10)
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b'<div id="app">' in answer.read()
        (told,) = home.rglob("serving/*.json")
        assert json.loads(told.read_text())["token"] == token
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=20)
    assert server.returncode == 143
    assert "Traceback" not in said
    assert not told.exists()


def test_a_port_that_is_taken(command, home):
    atlas = planted.write(home / "atlas.sqlite")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, said = command("serve", "--port", str(port), "--no-open", "--atlas", str(atlas))
    assert code == 75
    assert f"port {port} is in use" in said


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_cannot_be(command, home, port):
    code, _, said = command("serve", "--port", port, "--no-open")
    assert code == 2
    assert "65535" in said


def test_where_the_usual_port_is_taken_a_free_one_is_found():
    first = listening(None)
    second = listening(None)
    try:
        assert second.getsockname()[1] not in (PORT, 0)
        assert second.getsockname()[0] == "127.0.0.1"
    finally:
        first.close()
        second.close()


def test_no_atlas_is_said_before_anything_starts(command, home):
    code, _, said = command("serve", "--no-open", "--atlas", str(home / "none.sqlite"))
    assert code == 4
    assert "no atlas at" in said


def test_a_feature_is_opened_in_the_page_that_runs(command, home, monkeypatch):
    atlas = planted.write(home / "atlas.sqlite")
    monkeypatch.setattr("hooke.cli.atlases.atlas_files", lambda _: [atlas])
    code, _, said = command("open", "0/3")
    assert code == 4
    assert "hooke serve" in said
    session, opened = Session(12345), []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with announced(session):
        code, told, _ = command("open", "0/3")
        assert (code, told.strip(), opened) == (0, session.link(f"f/{SAE}/3"), [told.strip()])
        assert command("open", "0/3", "--no-browser")[0] == 0
        assert len(opened) == 1
        assert command("open", "0/99")[0] == 4


def test_what_a_killed_server_left_behind_is_no_server(home):
    began = time.time()
    with announced(Session(1)):
        (file,) = home.rglob("1.json")
        file.write_text(json.dumps({"pid": 2**22 + 1, "port": 1, "token": "x"}))
        from hooke.errors import Missing
        from hooke.serve.session import running

        with pytest.raises(Missing):
            running()
    assert time.time() - began < 5
