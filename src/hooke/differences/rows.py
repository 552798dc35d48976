"""Differences as rows for a table: a line for each finding, with the share of every group."""

import csv
import io

from hooke.differences.result import Differences

_PLAIN = (
    "kind",
    "feature",
    "name",
    "known_as",
    "fits",
    "rated",
    "by_name",
    "a",
    "b",
    "effect",
    "low",
    "high",
    "q",
    "again",
    "replicated",
    "beyond_words",
    "auc",
    "log_odds",
    "separation",
)


def csv_text(result: Differences) -> str:
    """A CSV file's text: what each finding is, its figures, the share of each group, and what holds with what held fixed.

    A cell that a spreadsheet would take for a formula has an apostrophe in front.
    """
    groups = [group["name"] for group in result.groups]
    checks = [confounder.name for confounder in result.confounders]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [*_PLAIN, *(f"share in {name}" for name in groups), *(f"holds with {name} fixed" for name in checks), "like"]
    writer.writerow([_safe(cell) for cell in head])
    for finding in result.findings:
        plain = [getattr(finding, name) for name in _PLAIN]
        row = [*plain, *(finding.groups[name] for name in groups), *(finding.holds.get(name) for name in checks), finding.like]
        writer.writerow([_safe(cell) for cell in row])
    return out.getvalue()


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
