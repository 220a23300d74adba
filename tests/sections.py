"""Curves of records, and one section of a report by its name."""

from __future__ import annotations

import records

from vbench.schema.record import Failure

OOM = Failure("oom_load", "CUDA out of memory")


def curve(loads=(10, 80, 320), slower=1.0, **what):
    return [
        records.record(num_prompts=n, output_throughput=30 * n / slower, median_itl_ms=slower * (5 + n / 16), **what)
        for n in loads
    ]


def section(found, slug):
    return next(each for each in found if each.slug == slug)
