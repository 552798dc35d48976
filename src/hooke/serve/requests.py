"""Requests: what is asked for over the wire, as plain values; the interface's schema is made from these."""

from dataclasses import dataclass, field


@dataclass
class AnalyzeRequest:
    """Texts to read."""

    texts: list[str]
    """The texts, in order."""
    saes: list[str] = field(default_factory=list)
    """The SAEs to look through; empty: the default one."""
    top: int = 24
    """Features of each text, at most 100."""


@dataclass
class ActivationsRequest:
    """Texts, to have every activation of their tokens."""

    texts: list[str]
    """The texts, in order."""
    saes: list[str] = field(default_factory=list)
    """The SAEs to look through; empty: those of `features`, or the default one."""
    features: list[str] = field(default_factory=list)
    """Only these features; empty: all that fire."""


@dataclass
class TokenizeRequest:
    """Texts to cut into tokens."""

    texts: list[str]
    """The texts."""


@dataclass
class SteerRequest:
    """Features to turn while a text is written."""

    features: list[str]
    """Addresses of 1 to 8 features, turned together."""
    prompt: str
    """The text to go on from."""
    doses: list[float] = field(default_factory=list)
    """How far, in units of each feature's own maximum; empty: 1, or less where that would move expectations by more than 2 nats a token."""
    kl: float | None = None
    """Instead of doses: the least that moves expectations by so many nats a token."""
    tokens: int = 40
    """Tokens to write."""
    temperature: float = 1.0
    """0 takes the likeliest token each time."""
    seed: int = 0
    """Decides what is drawn; the same for every arm."""
    asked: bool = True
    """Whether the unaltered model is also asked for it in words."""


@dataclass
class ProposeRequest:
    """Words to find features for that make the model write them."""

    words: str
    """1 to 20 words, parted by commas or spaces."""
    sae: str = ""
    """Whose features; empty: the default SAE's."""
    measure: bool = True
    """Whether features are measured now; else only those come whose effect an atlas has."""


@dataclass
class LensRequest:
    """A text to follow through every layer."""

    text: str
    """The text, of at most 128 tokens."""
    words: int = 5
    """Words of each layer and token, at most 20."""
    features: bool = True
    """Whether features are shown where there are SAEs."""
    beside: str | None = None
    """A second text to hold against it: what differs between the two is answered instead."""


@dataclass
class Key:
    """Asks for the cookie."""

    token: str
    """What stood in the address."""


@dataclass
class Change:
    """A change to what you wrote of a feature; what is left out stays."""

    star: bool | None = None
    """A star, or none."""
    note: str | None = None
    """A note; empty takes it away."""
    label: str | None = None
    """Your own name; empty takes it away."""


@dataclass
class SaveRequest:
    """A text to keep."""

    text: str
    """The text."""
