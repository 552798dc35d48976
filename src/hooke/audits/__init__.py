"""Audits: whether a model treats two groups differently in the same sentence, with effect sizes, error control and limits."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hooke.audits.measure import AuditRow, check_models, check_texts, judged, measure, reader_for, values_of
from hooke.audits.plan import AuditPlan
from hooke.card import card, identified, of_groups
from hooke.model import Model

__all__ = ["Audit", "AuditPlan", "AuditRow", "run_audit"]

SCHEMA_VERSION = 1
LIMITS = (
    "This measures what a model does with these sentences. It says nothing of the people whom the words stand for.",
    "Only these wordings and words were tried. Words differ in more than their group: how common they are, how long, how old.",
    "No difference shown is not no difference: the interval says what cannot be excluded.",
    "A difference in surprise or in a feature is not yet a harm; whether it matters depends on what the model is used for.",
)


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    title: str
    """What was asked."""
    groups: tuple[str, str]
    """The two groups."""
    texts: int
    """Texts that were read by each model."""
    units: int
    """Fillers, or pairs, that these are of."""
    paired: bool
    """Whether the texts came in pairs."""
    rows: list[AuditRow]
    """Every target of every model."""
    limits: tuple[str, ...]
    """Sentences that must stand beside the result."""
    made: dict[str, Any]
    """With what it was made."""

    def to_json(self) -> dict[str, Any]:
        """The JSON document of ``hooke audit --json``."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def run_audit(plan: AuditPlan | str | Path, *, seed: int = 0, progress: Callable[[str], None] = lambda _: None) -> Audit:
    """Measure every target of a plan in every text and say what differs between its groups.

    >>> run_audit("nurses.toml").rows[0].verdict  # doctest: +SKIP
    'higher for women'
    """
    plan = plan if isinstance(plan, AuditPlan) else AuditPlan.read(Path(plan))
    check_models(plan)
    rows, saes, models = [], {}, []
    for name in plan.models:
        progress(f"Loading {name}")
        model = Model.load(name, progress=progress)
        models.append(identified(model))
        check_texts(model, plan.cases)
        reader = reader_for(model, plan, progress)
        saes |= {one.sae.name: one.sae for one in reader.labelled_saes} if reader else {}
        for target in plan.targets:
            progress(f"{name}: {target.name}, {len(plan.cases):,} texts")
            rows.append(measure(plan, model.name, target, values_of(model, reader, target, plan.cases), seed))
    made = card(models, saes.values(), of_groups((case.group, case.text) for case in plan.cases), seed)
    units = len({case.unit for case in plan.cases})
    return Audit(plan.title, plan.groups, len(plan.cases), units, plan.paired, judged(rows, plan.groups), LIMITS, made)
