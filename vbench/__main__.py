"""The door: `python -m vbench [-m] [choice=…] [key=value]`."""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from vbench import compose
from vbench.campaign import launcher
from vbench.schema.errors import Refused


def main() -> int:
    """Composes and carries out; the exit code is 0 if all runs are VALID, 1 if some are not, 2 if refused."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print, and one line of ours says it
    launcher.register()
    compose.register()
    try:
        hydra.main(version_base="1.3", config_path=str(compose.CONF), config_name="config")(_never)()
    except Refused as refused:
        return _refuse(str(refused))
    except compose.COMPOSE_ERRORS as error:
        return _refuse(compose.sentence(error))
    except KeyboardInterrupt:
        print("vbench: interrupted; what was measured is kept, the same command goes on", file=sys.stderr)  # noqa: T201
        return 130
    return launcher.CampaignLauncher.exit_code


def _never(_: DictConfig) -> None:
    raise AssertionError("conf/config.yaml sets hydra.mode=MULTIRUN: the launcher carries out every campaign")


def _refuse(why: str) -> int:
    print(f"vbench: {why}", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
