"""The hand-written analysis that `tests/analysis` has."""

from analysis.conftest import analysis, renamed

__all__ = ["analysis", "renamed"]
