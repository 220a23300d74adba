"""How a mixture-of-experts model routes tokens, and whether the server does what the config asks for. Pure.

Random gates (`engine.weights=dummy`) spread tokens over the experts differently from trained gates, and vLLM can
simulate a known distribution. With expert parallelism the rank with the most tokens sets the pace.
"""

from __future__ import annotations

import re

from vbench.schema import Engine, Model, Weights

VARIABLE = "VLLM_MOE_ROUTING_SIMULATION_STRATEGY"
SIMULATED = re.compile(r"Simulating MoE routing using an? (\w+) strategy")  # vLLM logs this in its profile run


def build_environment(engine: Engine) -> dict[str, str]:
    """The variables that make vLLM simulate the routing, if the config asks for it."""
    return {VARIABLE: engine.moe_routing.value} if engine.moe_routing else {}


def describe(model: Model, engine: Engine, log: str) -> dict[str, str]:
    """`moe_routing` of a mixture of experts: what chose the experts. The log takes precedence over the config."""
    if not model.num_experts:
        return {}
    if simulated := SIMULATED.search(log):
        return {"moe_routing": f"simulated: {simulated[1]}"}
    dummy = engine.weights is Weights.dummy
    return {"moe_routing": "random gates of dummy weights, uneven" if dummy else "the model's gates"}


def find_mismatch(engine: Engine, log: str) -> str | None:
    """Why the ready server does not simulate the routing that the config asks for; None if it does."""
    found = SIMULATED.search(log)
    if engine.moe_routing is None or (found and found[1] == engine.moe_routing.value):
        return None
    said = f"the server simulates {found[1]}" if found else f"this version of the engine does not heed {VARIABLE}"
    return f"engine.moe_routing={engine.moe_routing.name}: {said}; leave it out, or use a vLLM that has it"
