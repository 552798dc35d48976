"""Alarms: signs in a run's metrics that something is going wrong, each with its figure, what is usual and what to do."""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Alarm", "Watch"]

L0_OFF = 0.2
"""Share by which L0 may miss its target."""
DEAD_USUAL = 0.1
"""Share of features that may be dead before a rise counts; three times that counts even where it does not rise."""
DENSE_USUAL = 0.01
"""Share of features that may fire on more than a tenth of the tokens, however sparse the SAE is."""
WORSE = 1.25
"""How many times its lowest the error may be."""

_RECENT = 40  # rows looked back on
_LAST = 3  # rows that have to agree: one batch proves nothing
_GRACE = 0.05  # share of the steps, past the warm-up, in which a run may still be settling


@dataclass(frozen=True)
class Alarm:
    """Something that looks wrong in one SAE's training."""

    text: str
    """The SAE, the figure, what is usual, and what to do."""
    sae: str
    """The SAE's name."""
    step: int
    """The step at which it was seen."""
    kind: str
    """``not_finite``, ``all_dead``, ``no_better``, ``diverging``, ``dead``, ``l0`` or ``dense``."""


class Watch:
    """Looks at a run's metrics as they come, and remembers what it has said.

    Reads no clock: the same rows give the same warnings, so a resumed run feeds it the rows it already has and goes on.
    """

    def __init__(self, saes: Mapping[str, Mapping[str, Any]], *, quiet: int = 100) -> None:
        """`saes` are the settings of each SAE as ``run.json`` has them; the same warning comes again only after `quiet` rows."""
        self._saes = dict(saes)
        self._quiet = quiet
        self._rows: dict[str, deque[dict[str, Any]]] = {name: deque(maxlen=_RECENT) for name in saes}
        self._said: dict[tuple[str, str], int] = {}
        self._seen = 0

    def see(self, row: Mapping[str, Any]) -> list[Alarm]:
        """Take in the next row of ``metrics.jsonl``; give the warnings that it is time to say."""
        self._seen += 1
        found = []
        for name, values in row.get("saes", {}).items():
            rows = self._rows.setdefault(name, deque(maxlen=_RECENT))
            rows.append({**values, "step": row.get("step", 0), "tokens": row.get("tokens", 0)})
            for kind, text in signs(list(rows), self._saes.get(name, {})):
                last = self._said.get((name, kind))
                if last is None or self._seen - last >= self._quiet:
                    self._said[name, kind] = self._seen
                    found.append(Alarm(f"{name}: {text}", name, int(row.get("step", 0)), kind))
        return found


def signs(rows: list[dict[str, Any]], sae: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with one SAE at the last of its recent `rows`: kind and text, the gravest only where one explains the others.

    `sae` holds its settings. Nothing but a loss that is not finite is said before warm-up and a twentieth of the steps are over.
    """
    if bad := _not_finite(rows[-1], sae):
        return [bad]
    if len(rows) < _LAST or rows[-1]["step"] < _settled(sae):
        return []
    # Rows from the warm-up are no measure of what came after.
    rows = [row for row in rows if row["step"] >= _settled(sae)]
    if len(rows) < _LAST:
        return []
    for grave in (_all_dead, _no_better):
        if bad := grave(rows, sae):
            return [bad]
    return [bad for check in (_diverging, _dead, _l0, _dense) if (bad := check(rows, sae))]


def _settled(sae: Mapping[str, Any]) -> float | int:
    """The step from which a run is held to what is usual. A warm-up above 1 is a number of steps, else a share of them."""
    steps = _number(sae, "steps") or 0
    longest = 0.0
    for key in ("warmup", "sparsity_warmup"):
        length = _number(sae, key) or 0
        longest = max(longest, length if length > 1 else length * steps)
    return min(longest + _GRACE * steps, 0.9 * steps)  # sparsity may rise over the whole run


def _not_finite(row: dict[str, Any], sae: Mapping[str, Any]) -> tuple[str, str] | None:
    for key in ("loss", "fvu", "l0"):
        value = row.get(key)
        if isinstance(value, int | float) and not math.isfinite(value):
            return "not_finite", (
                f"{key} is no longer a finite number ({value}). Nothing learnt from here on is of use: stop, go back to a checkpoint,"
                f" and lower {_now('lr', sae)} or raise {_now('warmup', sae)}."
            )
    return None


def _all_dead(rows: list[dict[str, Any]], sae: Mapping[str, Any]) -> tuple[str, str] | None:
    dead, size = _number(rows[-1], "dead"), _number(sae, "d_sae")
    if dead is None or not size or dead < 0.99 * size:
        return None
    cure = f"lower {_now('lr', sae)}, " + (f"lower {_now('sparsity', sae)} or " if _penalised(sae) else "")
    return "all_dead", (
        f"{'all' if dead >= size else f'{dead:,.0f}'} of {size:,.0f} features are dead; below {DEAD_USUAL:.0%} is usual."
        f" It will not recover: stop, {cure}raise {_now('warmup', sae)}, and begin again."
    )


def _no_better(rows: list[dict[str, Any]], sae: Mapping[str, Any]) -> tuple[str, str] | None:
    recent = _values(rows[-_LAST:], "fvu")
    if len(recent) < _LAST or min(recent) < 1:
        return None
    cure = f"lower {_now('lr', sae)}"
    cure += f", or lower {_now('sparsity', sae)}" if _penalised(sae) else f", or raise {_now('l0', sae)} if it is very small"
    return "no_better", (
        f"the error is {recent[-1]:.3g} of the variance; the mean alone would leave 1, and below 0.5 is usual by now. To mend it, {cure}."
    )


def _diverging(rows: list[dict[str, Any]], sae: Mapping[str, Any]) -> tuple[str, str] | None:
    told = [row for row in rows if _number(row, "fvu") is not None]
    if len(told) < 2 * _LAST:
        return None
    # A single lucky batch is not the error to come back to: the lowest of the medians of three.
    smooth = [(statistics.median(row["fvu"] for row in told[i : i + _LAST]), told[i + 1]) for i in range(len(told) - _LAST + 1)]
    low, best = min(smooth, key=lambda pair: pair[0])
    now = min(row["fvu"] for row in told[-_LAST:])
    # A sparsity that is still being raised costs error, and should.
    sparser = (_number(rows[-1], "l0") or 0) < 0.9 * (_number(best, "l0") or 0)
    if now < WORSE * low or sparser:
        return None
    return "diverging", (
        f"the error has risen from {low:.3g} at step {best['step']:,.0f} to {told[-1]['fvu']:.3g} of the variance; it usually only falls."
        f" If it goes on, return to a checkpoint before that, lower {_now('lr', sae)} or raise {_now('warmup', sae)}."
    )


def _dead(rows: list[dict[str, Any]], sae: Mapping[str, Any]) -> tuple[str, str] | None:
    dead, size = _values(rows, "dead"), _number(sae, "d_sae")
    after = _number(sae, "dead_after") or 0
    # Until twice that many tokens are over, features that the start left unused have had no time to be revived.
    if len(dead) < 2 * _LAST or not size or rows[-1]["tokens"] < 2 * after:
        return None
    share, before = dead[-1] / size, statistics.median(dead[:_LAST]) / size
    rising = share > before + 0.02 and statistics.median(dead[-_LAST:]) / size > before + 0.01
    falling = share < before - 0.01
    if share <= DEAD_USUAL or not (rising or (share > 3 * DEAD_USUAL and not falling)):
        return None
    trend = f"up from {before:.0%} at step {rows[0]['step']:,.0f}" if rising else "and not falling"
    long = f" for {after:,.0f} tokens" if after else " for long"
    cure = f"raise {_now('aux_weight', sae)} or {_now('aux_k', sae)}" if _number(sae, "aux_weight") is not None else "set aux_weight"
    return "dead", (
        f"{dead[-1]:,.0f} of {size:,.0f} features ({share:.0%}) have not fired{long}, {trend}; below {DEAD_USUAL:.0%} is usual."
        f" To revive them, {cure}; to lose fewer, lower {_now('lr', sae)} or raise {_now('warmup', sae)}."
    )


def _l0(rows: list[dict[str, Any]], sae: Mapping[str, Any]) -> tuple[str, str] | None:
    told, target = [row for row in rows if _number(row, "l0") is not None], _number(sae, "l0")
    if len(told) < 2 * _LAST or not target:
        return None
    now, before = (statistics.median(row["l0"] for row in part) for part in (told[-_LAST:], told[:_LAST]))
    gap, high = abs(now - target), now > target
    if gap <= L0_OFF * target:
        return None
    # One that will be there before the run is over, at the pace it has, needs no advice.
    pace = (abs(before - target) - gap) / max(1.0, told[-2]["step"] - told[1]["step"])
    left = max(0.0, (_number(sae, "steps") or 0) - rows[-1]["step"])
    if gap - pace * left <= L0_OFF * target:
        return None
    closing = pace * left > 0.1 * gap
    cure = _l0_cure(sae, high)
    if _penalised(sae) and not closing and _number(sae, "bandwidth"):
        cure += f"; if it stays where it is, raise {_now('bandwidth', sae)} so that more features feel their threshold"
    side, trend = "above" if high else "below", "closing too slowly to get there" if closing else "not closing"
    return "l0", (
        f"L0 is {now:.4g}, {gap / target:.0%} {side} its target of {target:g} and {trend};"
        f" within {L0_OFF:.0%} is usual after warm-up. To change it: {cure}."
    )


def _l0_cure(sae: Mapping[str, Any], high: bool) -> str:
    if not _penalised(sae):
        if high:
            return f"lower {_now('lr', sae)}"
        # TopK keeps the largest positive entries; fewer than asked means that fewer are positive.
        return f"too few features are alive to fill it, raise {_now('aux_weight', sae)} or lower {_now('l0', sae)}"
    if sae.get("architecture") == "jumprelu":  # its penalty pulls towards the target from both sides
        return f"raise {_now('sparsity', sae)}, which holds L0 to its target"
    if _number(sae, "sparsity") is None:
        side = "higher" if high else "lower"
        return f"its penalty is steered and has not got there; give it longer (tokens), or set sparsity, {side} than it was steered to"
    return f"{'raise' if high else 'lower'} {_now('sparsity', sae)}"


def _dense(rows: list[dict[str, Any]], sae: Mapping[str, Any]) -> tuple[str, str] | None:
    dense, size = _values(rows[-_LAST:], "dense"), _number(sae, "d_sae")
    if len(dense) < _LAST or not size:
        return None
    # Features that fire on a tenth of the tokens each carry a tenth of an active feature per token. Small SAEs have several per cent of
    # them and are none the worse, up to where they make up half of L0.
    usual = max(DENSE_USUAL * size, 5 * (_number(sae, "l0") or 0))
    if min(dense) <= usual:
        return None
    cure = f"raise {_now('sparsity', sae)}" if _penalised(sae) else f"lower {_now('l0', sae)}"
    return "dense", (
        f"{dense[-1]:,.0f} of {size:,.0f} features ({dense[-1] / size:.1%}) fire on more than 10% of the tokens; below"
        f" {usual / size:.1%} is usual. Such features rarely mean one thing: {cure}, or lower {_now('lr', sae)}."
    )


def _values(rows: list[dict[str, Any]], key: str) -> list[float | int]:
    values = (_number(row, key) for row in rows)
    return [value for value in values if value is not None]


def _number(sae: Mapping[str, Any], key: str) -> float | int | None:
    value = sae.get(key)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _penalised(sae: Mapping[str, Any]) -> bool:
    """Whether a penalty makes the codes sparse; TopK and its kin count entries instead."""
    return sae.get("architecture", "batchtopk") not in ("batchtopk", "topk")


def _now(key: str, sae: Mapping[str, Any]) -> str:
    """A setting with the value it has.

    >>> _now("lr", {"lr": 0.001})
    'lr (now 0.001)'
    """
    value = _number(sae, key)
    return key if value is None else f"{key} (now {value:g})"
