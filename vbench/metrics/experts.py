"""Among how many experts of a layer the tokens of a run are spread. Pure."""

from __future__ import annotations

from vbench.schema import Model
from vbench.schema.engine import Engine, Weights

ROUTER_BIAS = ("gpt_oss", "deepseek_v3", "glm4_moe", "kimi_k2")  # model types whose router adds a bias to each expert


def routes_alike(model: Model, engine: Engine) -> bool:
    """Whether every token goes to the same experts.

    So it is with random weights and a router that has a bias: vLLM draws all weights from ±0.001, norms included, so
    that what the router computes from a token is small against its bias.
    """
    return engine.weights is Weights.dummy and engine.moe_routing is None and model.model_type in ROUTER_BIAS
