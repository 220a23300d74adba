"""How well throughput and latencies are predicted for systems that no record has.

    python benchmarks/reach.py                        leaves each system of docs/results out once, prints every point
    python benchmarks/reach.py --quick                the same by one Gauss-Newton step instead of a fit for each system
    python benchmarks/reach.py --save                 also writes the efficiencies that a host without records uses
    python benchmarks/reach.py --records FOLDER       other records

aiconfigurator's answers stand below ours with --aiconfigurator PYTHON, the interpreter of an environment that has it
(benchmarks/reach_aiconfigurator.py says what it is asked).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np

from vbench.campaign.planning.expecting import WIDTH
from vbench.plan.reach import predictor
from vbench.plan.reach.efficiencies import Efficiencies
from vbench.plan.reach.observations import Observation, observe
from vbench.plan.reach.prediction import METRICS, TAILS
from vbench.schema.archives import read_records

AICONFIGURATOR = {  # models whose config.json it brings
    "llama8b": "meta-llama/Meta-Llama-3.1-8B",
    "llama70b": "meta-llama/Meta-Llama-3.1-70B",
    "mixtral8x7b": "mistralai/Mixtral-8x7B-v0.1",
    "qwen3_30b_a3b": "Qwen/Qwen3-30B-A3B",
    "gpt_oss_120b": "openai/gpt-oss-120b",
}
ROOT = Path(__file__).parents[1]
DEFAULTS = ROOT / "vbench" / "plan" / "reach" / predictor.DEFAULTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--aiconfigurator", metavar="PYTHON")
    options = parser.parse_args()
    records = read_records(options.records)
    seen = observe(records)
    found = predictor.fit_efficiencies(seen)
    fits = predictor.estimate_left_out_fits(seen, found) if options.quick else leave_out(seen, found)
    errors, tails = predictor.compute_errors(seen, fits), predictor.compute_tail_errors(seen, fits)
    print("Predicted by a fit without the system; measured; error")
    print_table(seen, errors)
    print_systems(seen, errors)
    print_tails(tails)
    if options.aiconfigurator:
        print_aiconfigurator(seen, options.aiconfigurator)
    if options.save:
        source = options.records.resolve().relative_to(ROOT)
        systems = len({each.system for each in seen})
        basis = f"predicted; fitted to {len(seen)} points of {systems} systems in vbench's {source}"
        medians = (tuple(round(error, 3) for error in predictor.take_medians(each)) for each in (errors, tails))
        DEFAULTS.write_text(predictor.Predictor(found, *medians, basis).to_json())


def leave_out(seen: list[Observation], common: Efficiencies) -> dict[str, Efficiencies]:
    """For each system, a fit to the others, begun at the common fit."""
    systems = sorted({each.system for each in seen})
    with multiprocessing.Pool() as pool:
        fits = pool.starmap(fit_without, [(seen, system, common) for system in systems], chunksize=1)
    return dict(zip(systems, fits, strict=True))


def fit_without(seen: list[Observation], system: str, start: Efficiencies) -> Efficiencies:
    """The efficiencies of a fit to all other systems."""
    return predictor.fit_efficiencies([each for each in seen if each.system != system], start=start)


def print_tails(errors: np.ndarray) -> None:
    """Medians and the worst of the errors (points, TAILS) where a 99th percentile was measured."""
    known = np.abs(errors[np.isfinite(errors).all(axis=1)])
    told = "  ".join(
        f"{name} {np.median(column):.1%}, worst {column.max():.1%}" for name, column in zip(TAILS, known.T, strict=True)
    )
    print(f"99th percentiles, {len(known)} points with enough requests: {told}")


def print_systems(seen: list[Observation], errors: np.ndarray) -> None:
    """A row for each system, in Markdown: points, then median and worst of each metric."""
    print(f"\n| system left out | points | {' | '.join(METRICS)} |\n|---|---:|---:|---:|---:|")
    for system in sorted({each.system for each in seen}):
        own = np.abs(errors[[place for place, each in enumerate(seen) if each.system == system]])
        cells = [f"{np.median(column):.0%}, {column.max():.0%}" for column in own.T]
        print(f"| {system} | {len(own)} | {' | '.join(cells)} |")


def print_table(seen: list[Observation], errors: np.ndarray) -> None:
    """One row for each point, then medians and the worst, by metric."""
    print(f"{'system':34} {'load':>5}  {'tokens/s':>24}  {'TPOT ms':>22}  {'TTFT ms':>22}")
    for each, error in sorted(zip(seen, errors, strict=True), key=lambda pair: (pair[0].system, pair[0].prompts)):
        cells = [
            f"{measured * (1 + off):8.5g} {measured:8.5g} {off:+5.0%}"
            for measured, off in zip(each.measured, error, strict=True)
        ]
        print(f"{each.system:34} {each.prompts:5}  " + "  ".join(cells))
    print_summary(seen, errors)


def print_summary(seen: list[Observation], errors: np.ndarray) -> None:
    """Medians and the worst over the points, by metric."""
    for name, value in (("median", np.median(np.abs(errors), axis=0)), ("worst", np.abs(errors).max(axis=0))):
        told = "  ".join(f"{metric} {each:.1%}" for metric, each in zip(METRICS, value, strict=True))
        print(f"{name} of {len(seen)} points of {len({each.system for each in seen})} systems: {told}")
    factors = np.maximum(1 + errors, 1 / (1 + errors))
    inside = (factors <= 1 + WIDTH * np.median(np.abs(errors), axis=0)).mean(axis=0)
    told = "  ".join(f"{metric} {each:.0%}" for metric, each in zip(METRICS, inside, strict=True))
    print(f"within the range that a plan shows (two median errors either way): {told}")


def print_aiconfigurator(seen: list[Observation], python: str) -> None:
    """What aiconfigurator says of the same points, and our errors on those that it knows."""
    script = Path(__file__).with_name("reach_aiconfigurator.py")
    asked = [describe(each) for each in seen]
    done = subprocess.run([python, str(script)], input=json.dumps(asked), capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    known = [place for place, answer in enumerate(answers) if "error" not in answer]
    print("\nThe same by aiconfigurator, from its data of vLLM, in a steady state of the mean lengths")
    replicas = [[seen[place].point.replicas, 1, 1] for place in known]
    told = np.array([[answers[place][metric] for metric in METRICS] for place in known]) * replicas
    print_table([seen[place] for place in known], told / np.array([seen[place].measured for place in known]) - 1)
    for reason in sorted(
        {f"{seen[place].system}: {answer['error']}" for place, answer in enumerate(answers) if "error" in answer}
    ):
        print(f"not known: {reason}")


def describe(observation: Observation) -> dict[str, object]:
    """A point in aiconfigurator's words."""
    point = observation.point
    model = point.system.partition(" ")[0]
    prompts, replies = point.load.lengths.mean(axis=0)
    return {
        "model": AICONFIGURATOR.get(model, model), "system": f"{point.gpu.name}_sxm", "isl": round(prompts),
        "osl": round(replies), "batch": max(1, observation.prompts // point.replicas), "tp": point.tensor_parallel,
        "experts": point.work.experts > 0, "fp8": point.work.dense_dtype == "fp8",
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
