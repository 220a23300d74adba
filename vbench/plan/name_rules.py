"""Names of a run that folders below multirun/ and MLflow get: the rules of both are met before anything runs. Pure."""

from __future__ import annotations

from vbench.schema import RunConfig
from vbench.schema.errors import Refused

LONGEST_EXPERIMENT = 256  # characters: the column of MLflow's tables
LONGEST_FOLDER = 255  # bytes: NAME_MAX of Linux's file systems
SPLIT_AND_KEY = 40  # bytes of a session's folder besides its model and hardware: "-tp16pp16dp16ep-0123abcd"
SHOWN = 40  # characters of a name that is refused


def check_names(run: RunConfig) -> None:
    """Raises Refused if the experiment, the model or the hardware has a name that no folder can have."""
    _check_experiment(run.experiment)
    parts = {"model.name": run.model.name, "hardware.gpu.name": run.system_label}
    for key, name in parts.items():
        if not name.isprintable() or {"/", "\\"} & set(name):
            raise Refused(f"{key}={_shorten(name)!r}: it names a folder; leave out slashes and control characters")
    size, most = sum(len(name.encode()) for name in parts.values()), LONGEST_FOLDER - SPLIT_AND_KEY
    if size > most:
        key = max(parts, key=lambda each: len(parts[each]))
        raise Refused(
            f"{key}={_shorten(parts[key])}: model and hardware have names of {size} bytes; a folder's name takes {most}"
        )


def _check_experiment(name: str) -> None:
    parts, shown = name.split("/"), name if len(name) <= LONGEST_EXPERIMENT else _shorten(name)
    if {"", ".", ".."} & set(parts):
        raise Refused(
            f"experiment={shown}: it names a folder below multirun/; leave out '.', '..' and a slash at either end"
        )
    if not name.isprintable():
        raise Refused(f"experiment={shown!r}: must be printable, without line breaks or control characters")
    if len(name) > LONGEST_EXPERIMENT or any(len(part.encode()) > LONGEST_FOLDER for part in parts):
        raise Refused(
            f"experiment={shown}: {len(name)} characters; MLflow takes {LONGEST_EXPERIMENT}, a folder's name "
            f"{LONGEST_FOLDER} bytes"
        )


def _shorten(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
