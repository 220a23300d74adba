"""How honest the ranges of `vbench size` are: how many recorded capacities lie within what was predicted of them.

    python benchmarks/sizing_ranges.py [--percentile 90] [--records FOLDER]

Capacities are those of sizing_replay.py: of every recorded system of one replica, within each of its SLOs. Each is
predicted by what a fit to the other models' records would find (one Gauss-Newton step from the common fit). A range
moves the limits of the SLO by a number of median errors, the width. How wide it must be is a conformal quantile: of n
systems, in ascending order of the width that holds all of their capacities, the ceil(share x (n + 1))-th. A further
system then lies in its ranges with that share, if it is like those recorded. `WIDTH` and `LIKELY` in
vbench/plan/sizing/capacity.py are this script's answers at p99, `LIKELY` that of three of four capacities, where each
system weighs the same.

Both are judged by widths that were taken from the other models alone. The last columns say whether a measured system
would tell the capacities of the same model: by how much they are off, alone and times its measured / predicted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from sizing_replay import SLOS, Known, estimate, find_capacity, predict_loads, read_world  # noqa: E402

from vbench.plan.reach import predictor  # noqa: E402
from vbench.plan.reach.observations import Observation, observe  # noqa: E402
from vbench.plan.sizing.capacity import LIKELY, WIDTH  # noqa: E402
from vbench.schema.archives import read_records  # noqa: E402

WIDTHS = [round(0.1 * place, 1) for place in range(201)]  # that are tried
SYSTEMS, CAPACITIES = 0.9, 0.75  # of systems, all of whose capacities are in a range; of capacities, in a likely one


@dataclass(frozen=True)
class Errors:
    """One system: how wide a range must be for each of its capacities, and how far off these are, as logarithms."""

    model: str
    name: str
    widths: tuple[float, ...]
    off: tuple[float, ...]  # by SLO; NaN where nothing is borne, or should not be


def leave_out(seen: Sequence[Observation]) -> dict[str, predictor.Predictor]:
    """For each model, what the records of the others tell; the unit of a width is the program's."""
    fits = predictor.estimate_left_out_fits(seen, predictor.fit_efficiencies(seen), by_model=True)
    common = predictor.Predictor.default()
    return {each.model: replace(common, efficiencies=fits[each.system]) for each in seen}


def find_errors(known: Known) -> Errors:
    widths, off = [], []
    for limits in SLOS:
        real = find_capacity(known.recorded.loads, limits)
        value = estimate(known, limits, 0.0).value
        widths.append(next((each for each in WIDTHS if holds(known, limits, each, real)), math.inf))
        off.append(math.log(real / value) if real and value else math.nan)
    system = known.recorded
    return Errors(system.model, f"{system.model}, {system.gpus} {system.gpu}", tuple(widths), tuple(off))


def holds(known: Known, limits: dict[str, float], width: float, real: float) -> bool:
    found = estimate(known, limits, width)
    return found.low <= real <= found.high


def widen_for_systems(errors: Sequence[Errors]) -> float:
    """The width that holds all capacities of SYSTEMS of further systems; infinite if these are too few to tell."""
    order = sorted(max(each.widths) for each in errors)
    place = math.ceil(SYSTEMS * (len(order) + 1) - 1e-9)
    return order[place - 1] if place <= len(order) else math.inf


def widen_for_capacities(errors: Sequence[Errors]) -> float:
    """The width that holds CAPACITIES of a further system's; systems weigh alike, and one more is all outside."""
    for width in WIDTHS:
        inside = sum(share_within(each, width) for each in errors)
        if inside >= CAPACITIES * (len(errors) + 1) - 1e-9:
            return width
    return math.inf


def share_within(errors: Errors, width: float) -> float:
    return float(np.mean([each <= width for each in errors.widths]))


def print_coverage(errors: Sequence[Errors]) -> None:
    """Of each system, by the widths of the program and by those of the other models alone."""
    ways: tuple[Callable[[Sequence[Errors]], float], ...] = (widen_for_systems, widen_for_capacities)
    whole, some = (way(errors) for way in ways)
    print(
        f"{len(errors)} systems. Widths by all: {whole:g} for {SYSTEMS:.0%} of systems, {some:g} for {CAPACITIES:.0%}"
    )
    print(f"of capacities. The program's, for p99: {WIDTH:g} and {LIKELY:g}.\n")
    print(f"| system | width that holds all | within {LIKELY:g} | width by others | within | off, median |")
    print("|---|---:|---:|---:|---:|---:|")
    within = {}
    for each in errors:
        others = [other for other in errors if other.model != each.model]
        width = widen_for_systems(others)
        within[each.name] = share_within(each, width)
        cells = f"{max(each.widths):g} | {share_within(each, LIKELY):.0%} | {width:g} | {within[each.name]:.0%}"
        print(f"| {each.name} | {cells} | {take_median(each.off):.0%} |")
    likely = np.mean([share_within(each, LIKELY) for each in errors])
    cells = (
        f" | {likely:.0%} | | {np.mean([*within.values()]):.0%} | {take_median(sum((e.off for e in errors), ())):.0%}"
    )
    print(f"| all capacities | {cells} |")
    print(f"| systems that are inside with all | | | | {np.mean([each == 1 for each in within.values()]):.0%} | |")


def print_siblings(errors: Sequence[Errors]) -> None:
    print("\n| model | off, median | off beside a measured system of the model, median |\n|---|---:|---:|")
    models = [model for model in dict.fromkeys(each.model for each in errors) if count(errors, model) > 1]
    found = {model: [each for each in errors if each.model == model] for model in models}
    for model, own in [*found.items(), ("all", [each for same in found.values() for each in same])]:
        beside = [error for each in own for error in compare(each, errors)]
        print(f"| {model} | {take_median(sum((each.off for each in own), ())):.0%} | {take_median(beside):.0%} |")


def count(errors: Sequence[Errors], model: str) -> int:
    return sum(each.model == model for each in errors)


def compare(own: Errors, errors: Sequence[Errors]) -> Iterator[float]:
    """Errors within the same SLO, beside each other system of the model."""
    for other in errors:
        if other.model == own.model and other is not own:
            yield from (mine - theirs for mine, theirs in zip(own.off, other.off, strict=True))


def take_median(logs: Sequence[float]) -> float:
    return math.expm1(float(np.nanmedian(np.abs(logs))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--percentile", type=int, choices=(90, 95, 99), default=99)
    options = parser.parse_args()
    records = read_records(options.records)
    fits = leave_out(observe(records))
    errors = [
        find_errors(Known(each, fits[model], predict_loads(each, fits[model], options.percentile)))
        for model, systems in read_world(records, options.percentile).items()
        for each in systems
    ]
    print_coverage(errors)
    print_siblings(errors)


if __name__ == "__main__":
    main()
