"""Warnings: each on metrics made to deserve it, none on a run that goes well."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.train.alarms import Alarm, Watch
from hooke.train.config import ARCHITECTURES, TrainConfig

NAME = "m/resid_post.9/x"
STEPS = 10_000


def settings(**more: Any) -> dict[str, Any]:
    return {
        "architecture": "batchtopk",
        "d_sae": 4096,
        "l0": 50,
        "steps": STEPS,
        "lr": 0.001,
        "warmup": 0.03,
        "aux_weight": 1 / 32,
        "aux_k": 256,
        "dead_after": 200_000,
    } | more


def well(t: float) -> dict[str, Any]:
    """A run that goes well, as a function of the share of it that is over."""
    return {
        "fvu": 0.15 + 0.4 * math.exp(-12 * t),
        "loss": 0.15 + 0.4 * math.exp(-12 * t),
        "l0": 50.0,
        "dead": int(300 * math.exp(-5 * t)) if t > 0.05 else 0,
        "dense": 140,
        "lr": 0.001 * min(1, t / 0.03, (1 - t) / 0.3),
    }


def watched(change: Callable[[float], dict[str, Any]], sae: dict[str, Any] | None = None, quiet: int = 1000) -> list[Alarm]:
    """What is said of a run of 100 rows."""
    watch, said = Watch({NAME: sae or settings()}, quiet=quiet), []
    for n in range(1, 101):
        row = {"step": n * STEPS // 100, "tokens": n * STEPS // 100 * 4096, "saes": {NAME: well(n / 100) | change(n / 100)}}
        said += watch.see(row)
    return said


def only(said: list[Alarm], kind: str) -> Alarm:
    assert {alarm.kind for alarm in said} == {kind}, said
    assert said[0].sae == NAME
    assert said[0].text.startswith(f"{NAME}: ")
    return said[0]


def test_a_good_run_is_left_alone() -> None:
    assert watched(lambda t: {}) == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_good_run_of_every_architecture_is_left_alone(architecture: str) -> None:
    """L0 comes down from far above during the warm-up of the penalty, and the error rises a little as it does."""
    from dataclasses import asdict

    sae = asdict(TrainConfig(architecture=architecture, steps=STEPS).resolved(4096))  # type: ignore[arg-type]
    assert watched(lambda t: {"l0": 50 * (1 + 40 * math.exp(-40 * t)), "fvu": 0.2 - 0.1 * math.exp(-20 * t)}, sae) == []


def test_nothing_is_said_before_the_warm_up_is_over() -> None:
    bad = {"fvu": 3.0, "l0": 400.0, "dense": 4000, "dead": 4000}
    assert watched(lambda t: bad if t <= 0.07 else {}) == []


@pytest.mark.parametrize("key", ["fvu", "loss", "l0"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_told_at_once(key: str, value: float) -> None:
    alarm = only(watched(lambda t: {key: value} if t >= 0.01 else {}), "not_finite")
    assert alarm.step == 100
    assert alarm.text == (
        f"{NAME}: {key} is no longer a finite number ({value}). Nothing learnt from here on is of use: stop, go back to a checkpoint,"
        " and lower lr (now 0.001) or raise warmup (now 0.03)."
    )


def test_dead_features_that_rise() -> None:
    alarm = only(watched(lambda t: {"dead": int(4096 * 0.5 * t)}), "dead")
    assert 0.1 * STEPS < alarm.step < 0.35 * STEPS
    assert "have not fired for 200,000 tokens, up from" in alarm.text
    assert "below 10% is usual" in alarm.text
    assert "raise aux_weight (now 0.03125) or aux_k (now 256); to lose fewer, lower lr (now 0.001)" in alarm.text


def test_many_dead_features_that_stay() -> None:
    assert "and not falling" in only(watched(lambda t: {"dead": 1400}), "dead").text


def test_dead_features_that_come_back_are_left_alone() -> None:
    assert watched(lambda t: {"dead": int(4096 * 0.8 * (1 - t))}) == []


def test_features_have_time_to_be_revived() -> None:
    late = settings(dead_after=STEPS * 4096)
    assert watched(lambda t: {"dead": int(4000 * t)}, late) == []


def test_all_dead() -> None:
    alarm = only(watched(lambda t: {"dead": 4096 if t > 0.5 else 0, "fvu": 1.0 if t > 0.5 else 0.2}), "all_dead")
    assert "all of 4,096 features are dead" in alarm.text
    assert "lower lr (now 0.001), raise warmup (now 0.03), and begin again" in alarm.text


def test_no_better_than_the_mean() -> None:
    alarm = only(watched(lambda t: {"fvu": 1.3}), "no_better")
    assert "the error is 1.3 of the variance; the mean alone would leave 1" in alarm.text


def test_an_error_that_rises() -> None:
    alarm = only(watched(lambda t: {"fvu": 0.2 + max(0, t - 0.5)}), "diverging")
    assert 0.5 * STEPS < alarm.step < 0.7 * STEPS
    assert "the error has risen from 0.2 at step" in alarm.text


def test_one_bad_batch_is_no_divergence() -> None:
    assert watched(lambda t: {"fvu": 0.6} if t in (0.5, 0.7) else {}) == []


def test_error_may_rise_as_l0_falls() -> None:
    assert (
        watched(
            lambda t: {"fvu": 0.1 + 0.2 * t, "l0": max(50, 250 - 215 * t)}, settings(architecture="relu", sparsity=1.0, sparsity_warmup=1.0)
        )
        == []
    )


@pytest.mark.parametrize(
    ("architecture", "sparsity", "l0", "advice"),
    [
        (
            "relu",
            2.0,
            90,
            "80% above its target of 50 and not closing; within 20% is usual after warm-up. To change it: raise sparsity (now 2).",
        ),
        (
            "relu",
            2.0,
            30,
            "40% below its target of 50 and not closing; within 20% is usual after warm-up. To change it: lower sparsity (now 2).",
        ),
        ("gated", None, 90, "its penalty is steered and has not got there; give it longer (tokens), or set sparsity, higher than"),
        (
            "jumprelu",
            0.02,
            90,
            "raise sparsity (now 0.02), which holds L0 to its target; if it stays where it is, raise bandwidth (now 0.5)",
        ),
        ("topk", None, 20, "too few features are alive to fill it, raise aux_weight (now 0.03125) or lower l0 (now 50)"),
    ],
)
def test_l0_off_its_target(architecture: str, sparsity: float | None, l0: float, advice: str) -> None:
    sae = settings(architecture=architecture, sparsity=sparsity, **({"bandwidth": 0.5} if architecture == "jumprelu" else {}))
    assert advice in only(watched(lambda t: {"l0": l0}, sae), "l0").text


def test_l0_that_will_get_there_is_left_alone() -> None:
    """Far off but closing in fast enough is said nothing of; at half that pace it is."""
    sae = settings(architecture="relu", sparsity=1.0)
    assert watched(lambda t: {"l0": 50 * (1 + 3 * (1 - t))}, sae) == []
    assert "closing too slowly to get there" in only(watched(lambda t: {"l0": 50 * (1 + 3 * (1 - t / 2))}, sae), "l0").text


def test_dense_features() -> None:
    """What a good small SAE has (181 of 4,096 at L0 50) is usual; what makes up half of L0 is not."""
    assert watched(lambda t: {"dense": 181}) == []
    alarm = only(watched(lambda t: {"dense": 400}), "dense")
    assert "400 of 4,096 features (9.8%) fire on more than 10% of the tokens; below 6.1% is usual" in alarm.text
    assert "below 1.0% is usual" in only(watched(lambda t: {"dense": 900, "dead": 0}, settings(d_sae=65536)), "dense").text


def test_the_same_warning_rests() -> None:
    def bad(t: float) -> dict[str, Any]:
        return {"dense": 400}

    assert [alarm.step for alarm in watched(bad, quiet=30)] == [1000, 4000, 7000, 10_000]
    assert len(watched(bad, quiet=1000)) == 1


def test_a_resumed_run_says_the_same() -> None:
    """Fed the rows it already has, a new watch goes on as the old one would have."""
    rows = [{"step": n * 100, "tokens": n * 409_600, "saes": {NAME: well(n / 100) | {"dense": 400}}} for n in range(1, 101)]
    straight, again = Watch({NAME: settings()}, quiet=30), Watch({NAME: settings()}, quiet=30)
    said = [straight.see(row) for row in rows]
    assert [again.see(row) for row in rows[:57]] + [again.see(row) for row in rows[57:]] == said


VALUES = st.one_of(st.none(), st.floats(), st.integers(-5, 10**9), st.text(max_size=3))


@given(
    st.lists(st.dictionaries(st.sampled_from(["fvu", "l0", "dead", "dense", "loss", "lr"]), VALUES), max_size=30),
    st.dictionaries(st.sampled_from(list(settings())), VALUES),
)
def test_no_metrics_and_no_settings_make_it_fail(rows: list[dict[str, Any]], sae: dict[str, Any]) -> None:
    watch = Watch({NAME: sae})
    for n, values in enumerate(rows):
        for alarm in watch.see({"step": n, "tokens": n * 10, "saes": {NAME: values}}):
            assert alarm.text
    assert watch.see({}) == []
