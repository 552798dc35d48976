"""Steered: text written with features turned, for the page; every arm as it is written, then what it cost."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hooke.errors import BadConfig
from hooke.serve.library import Library, title_of
from hooke.serve.microscope import MAX_CHARACTERS, Microscope, check_characters
from hooke.serve.requests import SteerRequest

if TYPE_CHECKING:
    from hooke.atlas import Feature
    from hooke.model import Model
    from hooke.steer import Dial

MAX_DOSES, MAX_STEER_TOKENS = 6, 512
"""Doses beside each other, and tokens of each text, at most."""


def check_steer(request: SteerRequest) -> None:
    """Raise `BadConfig` where more is asked for than is done at one go; features and doses are checked where they are used."""
    if not request.prompt.strip():
        raise BadConfig("there is no text to go on from.")
    check_characters(request.prompt)
    asked = {
        "characters": (len(request.prompt), MAX_CHARACTERS),
        "doses": (len(request.doses), MAX_DOSES),
        "tokens": (request.tokens, MAX_STEER_TOKENS),
    }
    for what, (count, most) in asked.items():
        if count > most:
            raise BadConfig(f"{count:,} {what} were asked for; at most {most:,} are written beside each other. `hooke steer` writes more.")
    if not 0 <= request.seed < 1 << 32:
        raise BadConfig(f"seed {request.seed} cannot be; it is a whole number from 0 to {(1 << 32) - 1}.")


def steered(microscope: Microscope, library: Library, request: SteerRequest) -> Iterator[tuple[str, Any]]:
    """``loading`` the first time, ``state`` while nothing is written, ``written`` after each token, ``tried`` for each dose,
    ``meta``, and ``done`` with it all.

    Where the dose is to be looked for, what the model writes by itself comes first: it is what the dose is looked for along.
    """
    from hooke.steer import Drawing, alone, capped_dose, dose_of_kl, steering

    features = [library.feature(name, 0, brief=True) for name in request.features]
    yield from microscope.whole()
    yield "state", {"step": "ready", "detail": "making the model ready to write"}
    model = microscope.model
    dials = [_dial(microscope, library, feature) for feature in features]
    doses, kl, prompt = request.doses, request.kl, request.prompt
    drawing = Drawing(request.tokens, request.temperature, request.seed)
    if not doses or kl is not None:
        written = None
        for ids, text in alone(model, prompt, drawing):
            written = ids
            microscope.stop_if_unwanted()
            yield "written", {"step": "alone", "arms": [{"kind": "clean", "dose": 0.0, "text": text}]}

        def tried(dose: float, moved: float) -> None:
            microscope.tell("tried", {"dose": dose, "moved": moved})

        doses = [
            capped_dose(model, dials, prompt, drawing, written, tried)
            if kl is None
            else dose_of_kl(model, dials, prompt, kl, drawing, written, tried)
        ]
    told = [_told(microscope, *pair) for pair in zip(features, dials, strict=True)]
    yield "meta", {"model": model.name, "doses": doses, "features": told, "prompt": _positions(model, prompt)}
    asked = " and ".join(title for feature in features if (title := title_of(feature))) if request.asked else ""
    steps = steering(model, dials, prompt, doses, drawing, asked or None)
    for count in itertools.count(1):
        microscope.stop_if_unwanted()
        if count > request.tokens and asked:
            yield "state", {"step": "asked", "detail": "asking for it in words"}
        try:
            arms = next(steps)
        except StopIteration as end:
            titles = {name: title_of(library.feature(name, 0, brief=True)) for name in end.value.controls}
            yield "done", {**asdict(end.value), "note": end.value.note, "titles": titles}
            return
        yield "written", {"step": "turned", "arms": [{"kind": arm.kind, "dose": arm.dose, "text": arm.text} for arm in arms]}


def _dial(microscope: Microscope, library: Library, feature: "Feature") -> "Dial":
    from hooke.steer import Dial

    sae = microscope.sae(feature.name.rpartition("/")[0])
    return Dial.of(microscope.model, sae, feature, library.table(sae).density)


def _positions(model: "Model", prompt: str) -> list[dict[str, Any]]:
    """Each position of the prompt from 0 on, with whether it is altered: special tokens are not, and everything written after it is."""
    ids = model.tokenizer.encode([prompt])[0]
    special = [token in model.tokenizer.special for token in ids]
    spelt = iter(model.tokenizer.pieces([token for token, skip in zip(ids, special, strict=True) if not skip], begins=True))
    return [{"token": "" if skip else next(spelt), "altered": not skip} for skip in special]


def _told(microscope: Microscope, feature: "Feature", dial: "Dial") -> dict[str, Any]:
    words = [microscope.model.tokenizer.pieces([word])[0] for word in dial.words]
    return {"name": feature.name, "title": title_of(feature), "kind": feature.kind, "max": feature.max, "words": words}
