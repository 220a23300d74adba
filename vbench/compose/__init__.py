"""From conf/ and the command line to configs: the only room that knows Hydra's composition and OmegaConf.

It does not know what a session is, nor what is done with a config.
"""

from vbench.compose.points import (
    COMPOSE_ERRORS,
    CONF,
    grid,
    known_gpus,
    known_models,
    register,
    run_config,
    sentence,
)

__all__ = ["COMPOSE_ERRORS", "CONF", "grid", "known_gpus", "known_models", "register", "run_config", "sentence"]
