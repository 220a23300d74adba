"""From conf/ and the command line to configs, and what a person can choose there: help and shell completion.

The only room that knows Hydra's composition and OmegaConf; it does not know sessions, or what is done with a config.
"""

from vbench.compose.choices import CONF, LAUNCHERS, check_choices, known_gpus, known_models, register
from vbench.compose.messages import COMPOSE_ERRORS, explain
from vbench.compose.points import grid, run_config
from vbench.compose.quoting import check_quoting
from vbench.compose.unknown import nearest

__all__ = [
    "COMPOSE_ERRORS",
    "CONF",
    "LAUNCHERS",
    "check_choices",
    "check_quoting",
    "explain",
    "grid",
    "known_gpus",
    "known_models",
    "nearest",
    "register",
    "run_config",
]
