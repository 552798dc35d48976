"""How a server starts and ends: its port, a second one beside it, an atlas of another SAE, a signal in the middle of work."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import planted
import pytest
from served import Desk, tiny_microscope
from served import desk as make_desk

from hooke import tiny
from hooke.atlas import Atlas, AtlasWriter, SaeEntry
from hooke.atlas.notes import Notes
from hooke.errors import Busy
from hooke.serve import launch
from hooke.serve.launch import Launched, listening
from hooke.serve.session import API, Session
from hooke.serve.worker import Job, Worker

SAE = tiny.sae().name


def test_a_port_in_use_is_said_and_without_one_a_free_port_is_taken(monkeypatch):
    with listening(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Busy, match=f"port {port} is in use"):
            listening(port)
        monkeypatch.setattr(launch, "PORT", port)
        with listening(None) as other:
            assert other.getsockname()[1] != port


def test_two_servers_at_once_do_not_answer_for_each_other(tmp_path):
    atlas = planted.write(tmp_path / "atlas.sqlite")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with make_desk(tmp_path / "one", [atlas]) as one, make_desk(tmp_path / "two", [atlas]) as two:
        assert one.session.cookie != two.session.cookie
        for own, other in ((one, two), (two, one)):
            assert own.ask("GET", f"{API}/lists")[0] == 200
            refused, told, _ = own.ask("GET", f"{API}/lists", authorization=f"Bearer {other.session.token}")
            assert (refused, told["status"]) == (401, 401)
            cookie = f"{other.session.cookie}={other.session.secret}"
            assert own.ask("GET", f"{API}/lists", authorization="", cookie=cookie, sec_fetch_site="same-origin")[0] == 401
        one.ask("PUT", f"{API}/notes/{SAE}/1", {"star": True})
        assert (one.get("/lists")["starred"], two.get("/lists")["starred"]) == (1, 0)


def test_an_atlas_of_another_sae_is_said_and_names_nothing_that_is_read(tmp_path, monkeypatch):
    file = tmp_path / "other.sqlite"
    with AtlasWriter(file, {"model": "tiny", "topics": [], "tokens": 1}) as writer:
        writer.sae(SaeEntry(SAE, "ab" * 32, 2, {}, tiny.sae().b_dec.numpy()), map(planted.record, range(2)))
        writer.finish()
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("hooke.serve.microscope.Microscope.load", lambda *_: tiny_microscope(None))
    with listening(0) as sock:
        server = Launched(sock, [file], "tiny", [], [])
        server.worker._run()
    assert server.worker.state == "failed"
    assert "abababababab" in server.worker.detail
    assert "hooke atlas build" in server.worker.detail
    assert server.library.feature(f"{SAE}/1", 0).name == f"{SAE}/1"
    server.library.close()


SERVE = """
import sys
sys.path.insert(0, {tests!r})
from served import tiny_microscope
from hooke.serve.microscope import Microscope
Microscope.load = classmethod(lambda *_: tiny_microscope(None))
from hooke.cli import main
main()
"""


def test_a_signal_with_work_under_way_ends_it_and_loses_no_note(tmp_path):
    atlas = planted.write(tmp_path / "atlas.sqlite", [tiny.sae()])
    script = SERVE.format(tests=os.path.dirname(os.path.dirname(__file__)))
    command = [sys.executable, "-c", script, "serve", "--no-open", "--port", "0", "--atlas", str(atlas)]
    environment = os.environ | {"HOOKE_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address, _, token = server.stdout.readline().strip().partition("#k=")
        one = Desk(Session(int(address.rsplit(":", 1)[1].strip("/")), token), None, None)  # type: ignore[arg-type]
        while one.get("/about")["model"]["state"] == "loading":
            time.sleep(0.05)
        assert one.ask("PUT", f"{API}/notes/{SAE}/3", {"note": "kept"})[0] == 200
        client = http.client.HTTPConnection("127.0.0.1", one.session.port, timeout=60)
        body = json.dumps({"texts": ["the bank of the judge in the rain"] * 2000})
        client.request("POST", f"{API}/analyze", body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        answer = client.getresponse()
        assert answer.readline().startswith(b"event")
        server.send_signal(signal.SIGTERM)
        *_, last = answer.read().strip().split(b"\n\n")
        client.close()
        assert last.startswith(b"event: error")
        assert b"shutting down" in last
        _, err = server.communicate(timeout=30)
    assert server.returncode == 143
    assert "Traceback" not in err
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", one.session.port), timeout=2):
        pass
    notes = Notes(tmp_path / "home" / "notes.sqlite")
    assert notes.of(Atlas(atlas).saes[SAE])[3].note == "kept"
    notes.close()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_said_and_is_no_defect(capsys, error):
    def fail(*_):
        raise error

    loading = Worker("tiny", fail)
    loading._run()
    assert (loading.state, loading.detail.startswith("out of memory")) == ("failed", True)

    async def answers() -> list[Any]:
        job = Job(fail)
        Worker("tiny", fail)._do(tiny_microscope(None), job)
        return [event async for event in job.events()]

    ((name, problem),) = asyncio.run(answers())
    assert (name, problem.status, problem.detail.startswith("out of memory")) == ("error", 413, True)
    assert capsys.readouterr().err == ""
