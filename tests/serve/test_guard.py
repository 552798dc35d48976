"""Only the browser that was given the key, on this machine, by this host's name, gets at anything: byte by byte on a socket."""

import itertools
import socket

import pytest

from hooke.errors import BadConfig
from hooke.serve.guard import HEADERS, MAX_BODY
from hooke.serve.session import API, Session, announced, running


def raw(desk, lines, body=b""):
    """Status and head of what the server answers to a request written out."""
    with socket.create_connection(("127.0.0.1", desk.session.port), timeout=10) as one:
        one.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)
        answer = b""
        while part := one.recv(65536):
            answer += part
    head, _, told = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), head.decode("latin-1").lower(), told


def hosts(port):
    good = [f"127.0.0.1:{port}", f"localhost:{port}"]
    names = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::1]", "0.0.0.0", "2130706433", ""]
    bad = [*names, "127.0.0.1", "localhost", *(f"{name}:{port}" for name in names)]
    return good, [*bad, *(f"{host}{tail}" for host in good for tail in ("1", ".", "/", "@evil", " evil"))]


def origins(port):
    good = [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
    bad = [
        "null",
        "http://evil.example",
        f"http://evil.example:{port}",
        f"https://127.0.0.1:{port}",
        "http://127.0.0.1",
        f"http://127.0.0.1:{port + 1}",
    ]
    return good, [*bad, f"http://127.0.0.1:{port}.evil.example", f"http://127.0.0.1:{port}/", "file://", "chrome-extension://abc", ""]


def test_every_host_with_every_origin(desk):
    """With the cookie, as a browser under attack would send it."""
    good_hosts, bad_hosts = hosts(desk.session.port)
    good_origins, bad_origins = origins(desk.session.port)
    cookie = f"Cookie: {desk.session.cookie}={desk.session.secret}"
    for host, origin in itertools.product(good_hosts + bad_hosts, good_origins + bad_origins):
        own = host in good_hosts and origin in good_origins
        body = b'{"star":false}'
        lines = [f"PUT {API}/notes/tiny/resid_post.0/64/3 HTTP/1.1", f"Host: {host}", f"Origin: {origin}", cookie]
        status, _, _ = raw(desk, [*lines, "Content-Type: application/json", f"Content-Length: {len(body)}"], body)
        assert (status == 200) == own, (host, origin, status)


@pytest.mark.parametrize(("site", "status"), [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("", 403)])
def test_reading_with_the_cookie_needs_the_browser_to_say_whose_page_asked(desk, site, status):
    cookie = f"{desk.session.cookie}={desk.session.secret}"
    found, _, _ = desk.ask("GET", f"{API}/about", Authorization="", Cookie=cookie, Sec_Fetch_Site=site)
    assert found == status


def test_without_key_nothing_but_the_empty_page(desk):
    for path in ("/about", "/saes", "/features", "/search?q=a", "/notes", "/lists", "/runs", "/features/tiny/resid_post.0/64/3", "/none"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"{desk.session.cookie}=wrong"}, {"Cookie": "hooke-1=x"}):
            status, told, _ = desk.ask("GET", API + path, **({"Authorization": "", "Sec-Fetch-Site": "same-origin"} | headers))
            assert status == 401, path
            assert "hooke serve" in told["detail"]
    assert desk.ask("GET", f"{API}/health", Authorization="")[0] == 200
    assert desk.ask("GET", "/f/tiny/resid_post.0/64/3", Authorization="")[0] == 200


def test_the_key_is_swapped_for_a_cookie_no_script_can_read(desk):
    own = {"Authorization": "", "Origin": f"http://127.0.0.1:{desk.session.port}", "Sec-Fetch-Site": "same-origin"}
    status, _, headers = desk.ask("POST", f"{API}/session", {"token": desk.session.token}, **own)
    assert status == 204
    cookie = headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert desk.session.token.lower() not in cookie
    assert desk.ask("POST", f"{API}/session", {"token": "wrong"}, **own)[0] == 401
    assert desk.ask("POST", f"{API}/session", {"token": desk.session.token}, **(own | {"Origin": "http://evil.example"}))[0] == 403


def test_no_answer_holds_the_key(desk):
    for path in ("/", f"{API}/about", f"{API}/openapi.json", f"{API}/notes", f"{API}/nothing"):
        _, told, headers = desk.ask("GET", path)
        assert desk.session.token not in str(told) + str(headers)
        assert desk.session.secret not in str(told) + str(headers)


def test_every_answer_carries_the_policy(desk):
    for method, path in (("GET", "/"), ("GET", f"{API}/about"), ("GET", "/nothing.js"), ("POST", f"{API}/about"), ("PUT", "/")):
        _, _, headers = desk.ask(method, path)
        lower = {name.lower(): value for name, value in headers.items()}
        for name, value in HEADERS:
            assert lower[name.decode()] == value.decode()
        assert not any(name.startswith("access-control") for name in lower)


TRICKS = (
    "//api/v1/about /%2e%2e/about /api/v1/../about /API%2fv1/about /x/../api/v1/about /api\\v1 /assets/../../about /./about /%61pi/v1/about"
)


@pytest.mark.parametrize("path", TRICKS.split())
def test_tricks_with_paths(desk, path):
    status, _, _ = raw(desk, [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{desk.session.port}"])
    assert status in (400, 401, 404)


def test_two_hosts_or_none(desk):
    own = f"Host: 127.0.0.1:{desk.session.port}"
    assert raw(desk, ["GET / HTTP/1.1", own])[0] == 200
    assert raw(desk, ["GET / HTTP/1.1", own, "Host: evil.example"])[0] in (400, 421)
    assert raw(desk, ["GET / HTTP/1.1"])[0] in (400, 421)
    assert raw(desk, ["GET http://evil.example/ HTTP/1.1", "Host: evil.example"])[0] in (400, 421)


def test_bodies_at_the_limit_and_past_it(desk):
    lead = b'{"texts":["'
    fits = lead + b"a" * (MAX_BODY - len(lead) - 3) + b'"]}'
    assert len(fits) == MAX_BODY
    own = [
        f"POST {API}/tokenize HTTP/1.1",
        f"Host: 127.0.0.1:{desk.session.port}",
        f"Authorization: Bearer {desk.session.token}",
        "Content-Type: application/json",
    ]
    assert raw(desk, [*own, f"Content-Length: {len(fits)}"], fits)[0] == 400  # too many characters, said by who counts them
    assert raw(desk, [*own, f"Content-Length: {len(fits) + 1}"], b"")[0] == 413
    assert raw(desk, [*own, "Transfer-Encoding: chunked"], b"0\r\n\r\n")[0] == 411
    plain = [line.replace("application/json", "text/plain") for line in own]
    assert raw(desk, [*plain, "Content-Length: 2"], b"{}")[0] == 415


def test_the_running_server_is_found_by_its_user_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path))
    session = Session(12345)
    with announced(session):
        assert (running().port, running().token) == (12345, session.token)
        (file,) = tmp_path.rglob("12345.json")
        assert file.stat().st_mode & 0o077 == 0
        assert session.link("f/a").startswith("http://127.0.0.1:12345/f/a#k=")
    with pytest.raises(Exception, match="hooke serve"):
        running()


def test_a_home_that_cannot_be_written_is_said_as_such(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    with (
        pytest.raises(BadConfig, match=r"cannot write .*home/serving/.*Set HOOKE_HOME to a folder you may write to"),
        announced(Session(8000)),
    ):
        pass
