"""Runs and sections of the analysis, made from records of tests."""

import dataclasses

import records

from vbench.analysis import comparisons, frame
from vbench.analysis.options import Options

A100 = dataclasses.replace(records.H100, name="a100", product="A100")
GPUS = {"a100": A100, "h100": records.H100}


def runs(*made):
    return frame.runs(records.table(list(made)))


def found(*made, **asked):
    """Section by slug."""
    return {each.slug: each for each in comparisons.sections(runs(*made), Options(figures=[], **asked))}


def repeated(rates, **what):
    return [records.record(workload={"seed": seed}, output_throughput=rate, **what) for seed, rate in enumerate(rates)]
