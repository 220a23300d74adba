"""How well throughput and latencies are predicted for systems that no record has.

    python benchmarks/reach.py                        leaves each system of docs/results out once, prints every point
    python benchmarks/reach.py --quick                the same by one Gauss-Newton step instead of a fit for each system
    python benchmarks/reach.py --save                 also writes the efficiencies that a host without records uses
    python benchmarks/reach.py --records FOLDER       other records

aiconfigurator's numbers stand beside ours if it is installed in another environment: --aiconfigurator PYTHON.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from pathlib import Path

import numpy as np

from vbench.plan.reach import predictor
from vbench.plan.reach.observations import Observation, observe
from vbench.plan.reach.prediction import METRICS
from vbench.schema.record import RECORD, Record, find_record

ROOT = Path(__file__).parents[1]
DEFAULTS = ROOT / "vbench" / "plan" / "reach" / predictor.DEFAULTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    records = read_records(options.records)
    seen = observe(records)
    found = predictor.fit_efficiencies(seen)
    errors = predictor.estimate_left_out_errors(seen, found) if options.quick else leave_out(seen)
    print_table(seen, errors)
    if options.save:
        source = options.records.resolve().relative_to(ROOT)
        systems = len({each.system for each in seen})
        basis = f"predicted; fitted to {len(seen)} points of {systems} systems in vbench's {source}"
        medians = tuple(np.round(np.median(np.abs(errors), axis=0), 3).tolist())
        DEFAULTS.write_text(predictor.Predictor(found, medians, basis).to_json())


def read_records(folder: Path) -> list[Record]:
    """All records at or below a folder that this version can read."""
    found = [find_record(path.parent) for path in sorted(folder.rglob(RECORD))]
    return [record for record in found if record]


def leave_out(seen: list[Observation]) -> np.ndarray:
    """The errors (points, METRICS) of each system, predicted by a fit to the others."""
    systems = sorted({each.system for each in seen})
    with multiprocessing.Pool() as pool:
        by_system = pool.starmap(errors_without, [(seen, system) for system in systems], chunksize=1)
    errors = np.empty((len(seen), len(METRICS)))
    for system, found in zip(systems, by_system, strict=True):
        errors[[place for place, each in enumerate(seen) if each.system == system]] = found
    return errors


def errors_without(seen: list[Observation], system: str) -> np.ndarray:
    """The errors (points of the system, METRICS) of a fit to all other systems."""
    found = predictor.fit_efficiencies([each for each in seen if each.system != system])
    return predictor.compute_errors([each for each in seen if each.system == system], found)


def print_table(seen: list[Observation], errors: np.ndarray) -> None:
    """One row for each point, then medians and the worst, by metric."""
    print("Predicted by a fit without the system; measured; error")
    print(f"{'system':34} {'load':>5}  {'tokens/s':>24}  {'TPOT ms':>22}  {'TTFT ms':>22}")
    for each, error in sorted(zip(seen, errors, strict=True), key=lambda pair: (pair[0].system, pair[0].prompts)):
        cells = [
            f"{measured * (1 + off):8.5g} {measured:8.5g} {off:+5.0%}"
            for measured, off in zip(each.measured, error, strict=True)
        ]
        print(f"{each.system:34} {each.prompts:5}  " + "  ".join(cells))
    for name, value in (("median", np.median(np.abs(errors), axis=0)), ("worst", np.abs(errors).max(axis=0))):
        told = "  ".join(f"{metric} {each:.1%}" for metric, each in zip(METRICS, value, strict=True))
        print(f"{name} of {len(seen)} points, {len({each.system for each in seen})} systems left out: {told}")


if __name__ == "__main__":
    sys.exit(main())
