"""Explain: names for features without any language model, each name a rule that can be run, and scored on text it was not made from."""

from hooke.explain.label import CHANCE, MIN_EVIDENCE, MIN_SCORE, STRONG, Labeller, label_features
from hooke.explain.reading import Reading
from hooke.explain.rule import Rule
from hooke.explain.shares import Shares

__all__ = ["CHANCE", "MIN_EVIDENCE", "MIN_SCORE", "STRONG", "Labeller", "Reading", "Rule", "Shares", "label_features"]
