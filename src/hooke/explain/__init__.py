"""Explain: names for features without any language model, each name a rule that can be run, and scored on text it was not made from."""

from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.labeller import CHANCE, MIN_EVIDENCE, MIN_SCORE, STRONG, Labeller, label_features
from hooke.explain.rules.rule import Rule

__all__ = ["CHANCE", "MIN_EVIDENCE", "MIN_SCORE", "STRONG", "Labeller", "Rule", "TokenIndex", "label_features"]
