"""Explain: names for features. `rules` makes each name a rule that can be run, `llm` asks a reader; both are tried on other text."""
