"""What the door of analysis can be told: key=value, as everywhere in vbench."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Dict, List, Optional  # OmegaConf 2.3 reads these forms on Python 3.10

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vbench.analysis.axes import LATENCY, THROUGHPUT, axis
from vbench.schema.errors import Refused

FORMATS = ("png", "svg", "pdf")
TEXTS = ("where", "fail_if", "against", "experiment", "out", "x", "y")  # as they were typed: a filter is no YAML


@dataclass
class Options:
    """One field a key."""

    experiment: Optional[str] = None  # null: all experiments together
    out: str = "report"
    where: str = ""
    num_prompts: Optional[int] = None  # the load of the tables; null: 320, or the largest that all share
    x: str = LATENCY
    y: str = THROUGHPUT
    figures: List[str] = field(default_factory=lambda: ["png", "svg"])  # [] draws none
    prices: Dict[str, float] = field(default_factory=dict)  # $ an hour by name of GPU
    slo: List[float] = field(default_factory=lambda: [20.0, 50.0, 100.0])  # limits on x
    against: Optional[str] = None  # the baseline: an experiment, or an engine version
    fail_if: Optional[str] = None  # output_throughput<0.97

    @property
    def compared(self) -> list[str]:
        """The metrics of a table of ratios."""
        return list(dict.fromkeys([self.y, self.x, "median_ttft_ms"]))


def options(arguments: list[str]) -> Options:
    """Reads key=value arguments. Raises Refused for a key that is none, with the nearest that is, or a bad value."""
    chosen = OmegaConf.structured(Options)
    known = [each.name for each in dataclasses.fields(Options)]
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise Refused(f"{argument}: options are key=value ({', '.join(known)})")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
            raise Refused(f"{key}: no such option; did you mean {near}=? There are {', '.join(known)}")
        try:
            chosen[key] = _value(key, value)
        except (OmegaConfBaseException, ValueError) as error:
            raise Refused(f"{argument}: {str(error).splitlines()[0]}") from error
    return _checked(OmegaConf.to_object(chosen))  # type: ignore[arg-type]  # of a structured config: its class


def _value(key: str, value: str) -> object:
    if value == "null":
        return None
    if key in TEXTS or key == "num_prompts":
        return value
    return OmegaConf.create(f"value: {value}").value if key == "prices" else _listed(value)


def _listed(value: str) -> list[str]:
    """`a,b`, with or without brackets."""
    return [word.strip() for word in value.strip("[]").split(",") if word.strip()]


def _checked(chosen: Options) -> Options:
    axis(chosen.x)
    axis(chosen.y)
    if chosen.fail_if is not None and chosen.against is None:
        raise Refused(
            f"fail_if={chosen.fail_if}: give the baseline too: against=EXPERIMENT, or against=an engine version"
        )
    if unknown := sorted(set(chosen.figures) - set(FORMATS)):
        raise Refused(f"figures={unknown[0]}: no such format; choose from {', '.join(FORMATS)}, or [] for none")
    return chosen
