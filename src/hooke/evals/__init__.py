"""Evals: what SAEs keep of a model, how sparse and alive they are, beside baselines, each figure with its interval."""

from hooke.evals.run import EvalConfig, Evaluation, evaluate

__all__ = ["EvalConfig", "Evaluation", "evaluate"]
