"""The options of `python -m vbench.analysis`: key=value, as everywhere in vbench."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from typing import Dict, List, Optional  # the forms that OmegaConf 2.3 reads on Python 3.10

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vbench.analysis.axes import LATENCY, THROUGHPUT, axis
from vbench.analysis.gate import parse_gate
from vbench.analysis.section import slug
from vbench.schema.errors import Refused

FORMATS = ("png", "svg", "pdf")
TAKES = {  # what a key takes that is no text
    "num_prompts": "a whole number of prompts, as num_prompts=80",
    "figures": f"formats of {', '.join(FORMATS)}, as figures=png,svg; [] draws none",
    "prices": "dollars an hour by the name of a GPU, as prices='{h100: 2.5, a100: 1.8}'",
    "slo": "limits on x, as slo=20,50,100",
}
TEXTS = ("where", "fail_if", "against", "experiment", "out", "x", "y")  # taken as typed: a filter is no YAML


@dataclass
class Options:
    """One field for each key."""

    experiment: Optional[str] = None  # null: all experiments together
    out: Optional[str] = None  # null: report/EXPERIMENT, or report for all experiments
    where: str = ""
    num_prompts: Optional[int] = None  # the load of the tables; null: 320, or the largest that all systems share
    x: str = LATENCY
    y: str = THROUGHPUT
    figures: List[str] = field(default_factory=lambda: ["png", "svg"])  # [] draws none
    prices: Dict[str, float] = field(default_factory=dict)  # $ an hour by name of GPU
    slo: List[float] = field(default_factory=lambda: [20.0, 50.0, 100.0])  # limits on x
    against: Optional[str] = None  # the baseline: an experiment, or an engine version
    fail_if: Optional[str] = None  # output_throughput<0.97

    @property
    def folder(self) -> str:
        """Where the report goes."""
        return self.out or (
            f"report/{slug(self.experiment).lstrip('.-') or 'experiment'}" if self.experiment else "report"
        )

    @property
    def compared(self) -> list[str]:
        """The metrics of a table of ratios."""
        return list(dict.fromkeys([self.y, self.x, "median_ttft_ms"]))


def parse_options(arguments: list[str]) -> Options:
    """Reads key=value arguments. Raises Refused for an unknown key, naming the nearest one, or for a bad value."""
    chosen = OmegaConf.structured(Options)
    known = [each.name for each in dataclasses.fields(Options)]
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise Refused(f"{argument}: options are key=value ({', '.join(known)})")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
            raise Refused(f"{key}: no such option; did you mean {near}=? Choose from {', '.join(known)}")
        try:
            chosen[key] = _parse_value(key, value)
        except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            raise Refused(f"{argument}: must be {TAKES.get(key, 'given in words, or left out')}") from error
    return _check(OmegaConf.to_object(chosen))  # type: ignore[arg-type]  # of a structured config: its class


def _parse_value(key: str, value: str) -> object:
    if value == "null":
        return None
    if key in TEXTS or key == "num_prompts":
        return value
    return OmegaConf.create(f"value: {value}").value if key == "prices" else _split(value)


def _split(value: str) -> list[str]:
    """`a,b`, with or without brackets."""
    return [word.strip() for word in value.strip("[]").split(",") if word.strip()]


def _check(chosen: Options) -> Options:
    axis(chosen.x)
    axis(chosen.y)
    if chosen.num_prompts is not None and chosen.num_prompts < 1:
        raise Refused(f"num_prompts={chosen.num_prompts}: must be 1 or more; leave it out for the largest common load")
    for limit in chosen.slo:
        if not 0 < limit < math.inf:
            raise Refused(f"slo={limit:g}: must be {TAKES['slo']}, each above 0 and finite")
    if chosen.fail_if is not None and chosen.against is None:
        raise Refused(
            f"fail_if={chosen.fail_if}: give the baseline too: against=EXPERIMENT, or against=an engine version"
        )
    if chosen.fail_if is not None:
        parse_gate(chosen.fail_if)
    for name, price in chosen.prices.items():
        if not 0 < price < math.inf:
            raise Refused(f"prices: {name}: {price:g} must be above 0, in $ an hour of one GPU; leave it out for none")
    if unknown := sorted(set(chosen.figures) - set(FORMATS)):
        raise Refused(f"figures={unknown[0]}: no such format; choose from {', '.join(FORMATS)}, or [] for none")
    return chosen
