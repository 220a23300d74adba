"""Plots to files. Several are drawn at once on the cores of this host: drawing takes most of a report's time."""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vbench.analysis.inline import inline_svg

if TYPE_CHECKING:
    from vbench.analysis.plot import Plot

FEW = 3  # so many plots are drawn sooner than processes are started
MOST_PROCESSES = 8  # each holds some 60 MiB of its own


def render_all(plots: Mapping[str, Plot], folder: Path, formats: Sequence[str]) -> dict[str, str]:
    """Writes NAME.FORMAT for each plot and format (png, svg, pdf), and returns each as an SVG element, by its name.

    All are held until the page is written, so each is shortened where it is drawn.
    """
    from vbench.analysis import figures  # noqa: F401  matplotlib, imported once for all processes

    tasks = [(plot, folder / name, tuple(formats)) for name, plot in plots.items()]
    processes = min(len(tasks), len(os.sched_getaffinity(0)), MOST_PROCESSES)
    if len(tasks) <= FEW or processes < 2:
        return dict(zip(plots, map(_render, tasks), strict=True))
    with _forked(processes - 1) as pool:
        drawn = [pool.submit(_render, task) for task in tasks]
        # This process draws too, from the end: each process that draws holds some memory of its own.
        here = {place: _render(tasks[place]) for place in reversed(range(len(tasks))) if drawn[place].cancel()}
        found = [here[place] if place in here else each.result() for place, each in enumerate(drawn)]
    return dict(zip(plots, found, strict=True))


@contextmanager
def _forked(processes: int) -> Iterator[ProcessPoolExecutor]:
    # A fork shares what is imported: starting anew would import pandas and matplotlib again in each process. What is
    # frozen there is not visited by garbage collection, which would write to its pages and so copy them.
    with warnings.catch_warnings():
        # NumPy's idle threads are the only ones here, and its library handles a fork.
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), gc.freeze) as pool:
            yield pool


def _render(task: tuple[Plot, Path, tuple[str, ...]]) -> str:
    from vbench.analysis import figures

    plot, path, formats = task
    figure = figures.draw(plot)
    written = io.StringIO()
    figures.render(figure, written, "svg")
    for kind in formats:
        file = path.with_name(f"{path.name}.{kind}")  # a name may hold dots of its own
        if kind == "svg":
            file.write_text(written.getvalue(), encoding="utf-8", errors="replace")
        else:
            figures.render(figure, file, kind)
    return inline_svg(written.getvalue())
