"""Explain: names for features without any language model, each name a rule that can be run, and scored on text it was not made from."""

from hooke.explain.label import Label, label_feature
from hooke.explain.reading import Reading

__all__ = ["Label", "Reading", "label_feature"]
