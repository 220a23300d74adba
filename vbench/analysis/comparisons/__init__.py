"""What a report has, in order: one comparison a file. Pure: runs in, sections out.

A new comparison is a file with a function from runs and options to sections, and a line in COMPARISONS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vbench.analysis.comparisons import (
    against,
    context_length,
    curves,
    gpu_time,
    gpus,
    left_out,
    max_context,
    one_load,
    repeats,
    scaling,
    splits,
    within_slo,
)

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section

COMPARISONS: tuple[Callable[[Runs, Options], list[Section]], ...] = (
    against.sections,
    one_load.sections,
    curves.of_models,
    curves.of_hardware,
    max_context.sections,
    gpus.sections,
    splits.sections,
    scaling.sections,
    context_length.sections,
    repeats.sections,
    within_slo.sections,
    gpu_time.sections,
    left_out.sections,
)


def sections(runs: Runs, options: Options) -> list[Section]:
    """All comparisons of the runs, in order."""
    return [section for compare in COMPARISONS for section in compare(runs, options)]
