"""An OpenAI-compatible chat end point as a reader: patient with what passes, clear about what does not, never over its budget."""

import json
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hooke.errors import BadConfig, HookeError, LimitReached, Missing
from hooke.explain.llm.answer import MAX_ANSWER
from hooke.explain.llm.ledger import Answer
from hooke.explain.llm.request import Request
from hooke.text.marks import marked

TRIES = 6
"""How often a request is sent that the end point is too busy for, or does not answer."""
_WAIT_S, _LONGEST_S = 1.0, 60.0
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_MOST_BYTES = 1 << 20
_TIMEOUT_S = 120.0
_MILLION = 1_000_000


class Unanswered(HookeError):
    """The end point did not answer, however often it was asked."""


@dataclass(frozen=True)
class Price:
    """What a million tokens cost, in dollars."""

    read: float = 0.0
    """Of a request."""
    written: float = 0.0
    """Of an answer."""

    @classmethod
    def parse(cls, text: str) -> "Price":
        """The price that ``0.15/0.60`` means: of a million tokens read, and written. Raises `BadConfig`."""
        try:
            read, written = (float(part) for part in text.split("/"))
        except ValueError:
            read = written = -1.0
        if not (0 <= read < float("inf") and 0 <= written < float("inf")):
            raise BadConfig(f"--price {text} is no price. Give dollars per million tokens read and written, for example --price 0.15/0.60.")
        return cls(read, written)

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.read + tokens_out * self.written) / _MILLION


class Budget:
    """What may be spent, in dollars or in tokens. Every request is set aside for at its largest before it is sent."""

    def __init__(self, text: str, price: Price | None) -> None:
        """The budget that ``2usd`` or ``500k`` (tokens) means. Raises `BadConfig` where it is nothing, or dollars without a price."""
        dollars = text.lower().removesuffix("usd").removesuffix("$")
        self.dollars = dollars != text.lower()
        scale = {"k": 1e3, "m": 1e6}.get(dollars[-1:], 1.0)
        try:
            self.most = float(dollars.rstrip("km")) * scale
        except ValueError:
            self.most = float("nan")
        if not 0 < self.most < float("inf"):
            raise BadConfig(f"--budget {text} buys nothing. Give tokens (500k, 2M) or, with --price, dollars (2usd).")
        if self.dollars and price is None:
            raise BadConfig(
                f"--budget {text} needs to know what tokens cost: --price READ/WRITTEN, dollars per million, such as 0.15/0.60."
            )
        self.price = price or Price()
        self.spent = self._aside = 0.0
        self._lock = threading.Lock()

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens take of the budget."""
        return self.price.of(tokens_in, tokens_out) if self.dollars else float(tokens_in + tokens_out)

    def shown(self, amount: float) -> str:
        """An amount in the budget's own unit."""
        return f"{amount:,.2f} usd" if self.dollars else f"{amount:,.0f} tokens"

    def set_aside(self, request: Request) -> float:
        """Keep what `request` may cost at most; `LimitReached` where that is no longer there."""
        amount = self.cost(round(1.25 * request.tokens), request.most)
        with self._lock:
            if self.spent + self._aside + amount > self.most:
                raise LimitReached(f"the budget of {self.shown(self.most)} is spent ({self.shown(self.spent)})")
            self._aside += amount
        return amount

    def settle(self, amount: float, used: float) -> None:
        """What was set aside is free again; so much of it was used."""
        with self._lock:
            self._aside -= amount
            self.spent += used


class Endpoint:
    """A reader at an address. `ask` may be called from several threads."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str = "OPENAI_API_KEY",
        timeout: float = _TIMEOUT_S,
        wait: Callable[[float], Any] = time.sleep,
    ) -> None:
        """The model called `model` at `url`, with the key in the environment variable `key_env` if there is one.

        `url` is what clients call the base URL, with or without ``/chat/completions``. Raises `BadConfig` for what is no address, and
        `Missing` without ``hooke[label]``.
        """
        try:
            import httpx2
        except ImportError as error:
            raise Missing("asking an end point needs an HTTP client: pip install 'hooke[label]'.") from error
        if not url.startswith(("http://", "https://")):
            raise BadConfig(f"--endpoint {url} is no address. Give its base URL, for example http://localhost:11434/v1.")
        self.url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self.model, self._key_env, self._wait = model, key_env, wait
        key = os.environ.get(key_env, "")
        self._http, self._client = httpx2, httpx2.Client(timeout=timeout, headers={"Authorization": f"Bearer {key}"} if key else {})

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def ask(self, request: Request, complaint: str = "") -> Answer:
        """The answer to `request`, whatever it says. What passes (429, 5xx, timeouts, lost connections) is waited for.

        Raises `BadConfig` where key, model or address are refused, `Unanswered` after `TRIES`.
        """
        said, pause = "", 0.0
        for attempt in range(TRIES):
            if attempt:
                own = _WAIT_S * 2 ** (attempt - 1) * random.uniform(1, 1.5)  # noqa: S311 (no secret)
                self._wait(min(_LONGEST_S, pause or own))
            status, pause, data = self._sent(request.body(complaint))
            if status == 200 and (answer := _answer(request, data)) is not None:
                return answer
            said = f"{status or 'no answer'}: {_message(data)}" if status != 200 else "an answer that is no chat completion"
            if status not in _PASSING and status not in (0, 200):
                raise BadConfig(self._refused(status, data))
        raise Unanswered(f"{self.url} did not answer a request in {TRIES} tries (last, {said}). What was answered is kept.")

    def _sent(self, body: dict[str, Any]) -> tuple[int, float, bytes]:
        """Status, the seconds it asks to wait, and what it says (of which no more than an answer can have); 0 where nothing came."""
        try:
            with self._client.stream("POST", self.url, json=body) as response:
                data = b""
                for part in response.iter_bytes():
                    data += part
                    if len(data) > _MOST_BYTES:
                        break
                after = response.headers.get("retry-after", "")
                return response.status_code, float(after) if after.isdecimal() else 0.0, data[:_MOST_BYTES]
        except self._http.TransportError as error:
            return 0, 0.0, str(error or type(error).__name__).encode()
        except self._http.InvalidURL as error:
            raise BadConfig(f"--endpoint {self.url} is no address ({error}).") from error

    def _refused(self, status: int, data: bytes) -> str:
        what = {
            401: f"refused the key. Put yours into the environment variable {self._key_env} (another one: --key-env NAME).",
            403: f"refused the key. Put one with the right to use {self.model} into {self._key_env} (another variable: --key-env NAME).",
            404: f"knows no model {self.model!r} or is not the base URL of an OpenAI-compatible service. See --model-name, --endpoint.",
        }.get(status, "did not take the request. Check --endpoint and --model-name.")
        return f"{self.url} answered {status} ({_message(data)}) and {what}"


def _answer(request: Request, data: bytes) -> Answer | None:
    """The answer in a chat completion; None where it is none."""
    try:
        found = json.loads(data)
        text = found["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            return None
        usage = found.get("usage") or {}
        read, written = (usage.get(key) for key in ("prompt_tokens", "completion_tokens"))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    tokens_in = read if isinstance(read, int) and 0 <= read < _MILLION else request.tokens
    tokens_out = written if isinstance(written, int) and 0 <= written < _MILLION else round(len(text) / 4) + 1
    return Answer(request.id, text[: MAX_ANSWER + 1], tokens_in, tokens_out)


def _message(data: bytes) -> str:
    """What an error says, short and safe to print."""
    try:
        error = json.loads(data)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, TypeError, LookupError, RecursionError):
        text = data.decode("utf-8", "replace")
    return marked(text)[:200] or "nothing said"
