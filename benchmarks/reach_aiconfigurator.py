"""Asks aiconfigurator for points: a JSON list on stdin, its answers on stdout. Runs in aiconfigurator's environment.

    python -m venv /tmp/aic && /tmp/aic/bin/pip install aiconfigurator
    python benchmarks/reach.py --quick --aiconfigurator /tmp/aic/bin/python

A point is {model, system, isl, osl, batch, tp, experts, fp8}; an answer {output_throughput, median_tpot_ms,
median_ttft_ms} of the steady state that `aiconfigurator cli estimate` (mode agg) describes, or {error}. It is told the
mean lengths and as many requests at a time as the load has: it knows no bursts and no distributions of lengths.
"""

import json
import logging
import sys
import warnings

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


def answer(point: dict) -> dict:
    """Aiconfigurator's estimate of one point."""
    from aiconfigurator.cli.api import cli_estimate  # only in this environment

    try:
        found = cli_estimate(
            point["model"],
            point["system"],
            backend_name="vllm",
            isl=point["isl"],
            osl=point["osl"],
            batch_size=point["batch"],
            tp_size=point["tp"],
            moe_tp_size=point["tp"] if point["experts"] else None,
            gemm_quant_mode="fp8" if point["fp8"] else None,
        )
    except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
    tokens = point["osl"] * 1e3 / (found.ttft + found.tpot * (point["osl"] - 1)) * point["batch"]
    return {"output_throughput": tokens, "median_tpot_ms": found.tpot, "median_ttft_ms": found.ttft}


if __name__ == "__main__":
    told = sys.stdout
    sys.stdout = sys.stderr  # it prints while it works
    answers = [answer(point) for point in json.load(sys.stdin)]
    json.dump(answers, told)
