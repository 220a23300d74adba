"""The comparisons of a report, one a file. Pure: they take runs and options and know neither store nor files.

To add a comparison, write a file with a function from runs and options to sections, and add it to COMPARISONS.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vbench.analysis.comparisons import (
    against,
    bounds,
    context_length,
    conversations,
    curves,
    excluded,
    gpu_time,
    gpus,
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
    curves.sections_by_model,
    curves.sections_by_hardware,
    max_context.sections,
    gpus.sections,
    splits.sections,
    scaling.sections,
    context_length.sections,
    conversations.sections,
    repeats.sections,
    within_slo.sections,
    bounds.sections,
    gpu_time.sections,
    excluded.sections,
)


def sections(runs: Runs, options: Options) -> list[Section]:
    """All comparisons of the runs, in order; no two of them write to files of the same name."""
    return _separate_files([section for compare in COMPARISONS for section in compare(runs, options)])


def _separate_files(found: list[Section]) -> list[Section]:
    """Adds a digest of the title where two names differ only in what a file name cannot hold, or in case."""
    counts = Counter(each.slug.casefold() for each in found)
    return [
        replace(each, slug=f"{each.slug}-{hashlib.sha256(each.title.encode()).hexdigest()[:8]}")
        if counts[each.slug.casefold()] > 1
        else each
        for each in found
    ]
