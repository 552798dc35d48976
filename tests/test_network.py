"""A host whose name cannot be resolved is said at once, whatever is wanted of it; behind a proxy nobody asks."""

import socket
import time

import pytest

from hooke.errors import Missing
from hooke.model import Model
from hooke.network import require_host
from hooke.sae import Sae

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (lambda: Sae.from_pretrained("someone/saes/layer_3"), "someone/saes/layer_3"),
        (lambda: Sae.from_pretrained("gemma-scope-2b-pt-res/layer_20/width_16k/canonical"), "params.npz of google/gemma-scope-2b-pt-res"),
        (lambda: Model.load("someone/model"), "the model 'someone/model'"),
    ],
)
def test_offline_is_said_at_once(offline: None, wanted, said: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    began = time.monotonic()
    with pytest.raises(Missing) as caught:
        wanted()
    assert time.monotonic() - began < 5
    assert "cannot reach https://hub.invalid" in str(caught.value)
    assert "its name cannot be resolved (Temporary failure in name resolution)" in str(caught.value)
    assert said in str(caught.value)


def test_behind_a_proxy_nobody_asks(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Missing):
        require_host("https://hub.invalid/x", "a file")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    require_host("https://hub.invalid/x", "a file")


def test_an_address_that_is_one_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    require_host("http://127.0.0.1:9", "a file")
