"""The figures of a plan: what each model should show under load, and who has which GPU when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from vbench.campaign.planning.summary import name_session
from vbench.campaign.planning.wording import count
from vbench.plan.forecast.campaign import Forecast, PlannedRun, PlannedSession, list_pool_sizes, pack_pool
from vbench.plan.forecast.estimate import Basis
from vbench.plan.naming import DOT
from vbench.workload.search import streams

# Okabe and Ito's palette, told apart by every kind of eye; without its yellow, which vanishes on white. No grey: the
# pale part of a black bar is grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#7B2D26")
INK, FAINT = "#222222", "#666666"
COLUMNS, PANEL_IN = 3, (4.2, 3.1)
MOST_CURVES = 8  # in one panel: more cannot be told apart
FIRM = (Basis.measured, Basis.interpolated)

Point = tuple[float, PlannedRun]  # the load, and the run
Bar = tuple[float, float, int, str]  # start, width, GPU, colour


def draw_all(found: Forecast, sizes: Mapping[str, int], folder: Path) -> list[tuple[str, str]]:
    """Draws into the folder; returns file names and captions."""
    drawn = []
    with rc_context({"text.parse_math": False, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        curves = _curves(found)
        if curves:
            caption = "Output throughput by load. Filled: measured or interpolated. Hollow: predicted, with its range."
            drawn.append((_save(draw_curves(curves), folder, "curves.png"), caption))
        for pool, sessions in found.pools.items():
            if pool not in ("cpu", "external"):
                size = list_pool_sizes(sessions, sizes.get(pool))[0]
                name = f"schedule-{pool.replace(' ', '-')}.png"
                caption = (
                    f"{count(len(sessions), 'session')} on {count(size, 'GPU')} of {pool}, in the order of their start."
                )
                drawn.append((_save(_draw_schedule(sessions, size, pool), folder, name), caption))
    return drawn


def _curves(found: Forecast) -> dict[str, dict[str, list[Point]]]:
    """Points by model and system, ascending by load; systems of one point have no curve, but a model of such has."""
    curves: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for each in found.sessions:
        for run in each.runs:
            load = run.run.config.workload
            level = float(streams(load))
            if run.expected is not None and not load.paced and not load.search:
                system = name_session(each).partition(DOT)[2]
                curves[each.session.model.name][system].append((level, run))
    for systems in curves.values():
        for points in systems.values():
            points.sort(key=lambda point: point[0])
    return curves


def draw_curves(curves: Mapping[str, Mapping[str, Sequence[Point]]]) -> Figure:
    columns = min(COLUMNS, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(PANEL_IN[0] * columns, PANEL_IN[1] * rows), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    bases = {
        run.expected.output_throughput.basis
        for model in curves.values()
        for points in model.values()
        for _, run in points
        if run.expected
    }
    figure.suptitle(_say_bases(bases), color=INK, fontsize=10)
    colours = _share_colours(curves)
    for place, (model, systems) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        ranked = sorted(systems.items(), key=lambda item: -_highest(item[1]))
        for system, points in ranked[:MOST_CURVES]:
            _draw_curve(axes, system, points, colours[model, system])
        left_out = len(ranked) - MOST_CURVES
        axes.set_title(model + (f" ({left_out} lower curves left out)" if left_out > 0 else ""), color=INK, loc="left")
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("requests at once", color=FAINT)
        axes.set_ylabel("output tokens/s", color=FAINT)
        axes.legend(frameon=False, fontsize=7)
    return figure


def _say_bases(bases: Collection[Basis]) -> str:
    """What the points of a figure are: it may be seen without its page."""
    if all(basis in FIRM for basis in bases):
        return "measured or interpolated"
    if any(basis in FIRM for basis in bases):
        return "hollow: predicted, not measured; filled: measured or interpolated"
    return "predicted, not measured"


def _share_colours(curves: Mapping[str, Mapping[str, Sequence[Point]]]) -> dict[tuple[str, str], str]:
    """The colour of each model's systems: a system has one in all panels, if there are colours enough."""
    names = list(dict.fromkeys(system for systems in curves.values() for system in systems))
    if len(names) <= len(COLOURS):
        of_name = dict(zip(names, COLOURS, strict=False))
        return {(model, system): of_name[system] for model, systems in curves.items() for system in systems}
    found: dict[tuple[str, str], str] = {}
    for model, systems in curves.items():
        ranked = sorted(systems, key=lambda system: -_highest(systems[system]))
        found |= {(model, system): COLOURS[place % len(COLOURS)] for place, system in enumerate(ranked)}
    return found


def _highest(points: Sequence[Point]) -> float:
    return max(run.expected.output_throughput.value for _, run in points if run.expected)


def _draw_curve(axes: Axes, system: str, points: Sequence[Point], colour: str) -> None:
    loads = [load for load, _ in points]
    throughputs = [run.expected.output_throughput for _, run in points if run.expected]
    values = [each.value for each in throughputs]
    axes.plot(loads, values, color=colour, linewidth=1.2, label=system)
    axes.fill_between(
        loads, [each.low for each in throughputs], [each.high for each in throughputs], color=colour, alpha=0.12, lw=0
    )
    faces = [colour if each.basis in FIRM else "white" for each in throughputs]
    axes.scatter(loads, values, s=20, color=colour, facecolors=faces, zorder=3)


def _draw_schedule(sessions: Sequence[PlannedSession], gpus: int, pool: str) -> Figure:
    slots = pack_pool(sessions, gpus)
    end_s = max(slot.end_s for slot in slots)
    unit, divisor = ("minutes", 60) if end_s < 2 * 3600 else ("hours", 3600)
    models = list(dict.fromkeys(each.session.model.name for each in sessions))
    colours = {model: COLOURS[place % len(COLOURS)] for place, model in enumerate(models)}
    figure = Figure(figsize=(10, 1.4 + 0.34 * gpus), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    held, starting = list[Bar](), list[Bar]()
    for slot in slots:
        each = sessions[slot.session]
        colour = colours[each.session.model.name]
        start, width = slot.start_s / divisor, (slot.end_s - slot.start_s) / divisor
        ready = min((each.start.value + each.rehearsal.value) / divisor, width)
        held += [(start, width, gpu, colour) for gpu in slot.gpus]
        starting += [(start, ready, gpu, "white") for gpu in slot.gpus]
    _draw_bars(axes, held, alpha=0.85, edgecolor="white", linewidth=0.8)
    _draw_bars(axes, starting, alpha=0.45, linewidth=0)
    axes.set_title(
        f"{pool}: sessions on {count(gpus, 'GPU')}; the pale part of each is its start", color=INK, loc="left"
    )
    axes.set_xlabel(unit, color=FAINT)
    axes.set_ylabel("GPU", color=FAINT)
    axes.set_yticks(range(gpus) if gpus <= 16 else range(0, gpus, 8))
    axes.set_ylim(gpus - 0.5, -0.5)
    axes.set_xlim(0, end_s / divisor)
    handles = [Patch(color=colour, label=model) for model, colour in colours.items()]
    axes.legend(handles=handles, frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _draw_bars(axes: Axes, bars: Sequence[Bar], **style: Any) -> None:
    """All in one collection: a patch for each takes seconds where there are thousands."""
    corners = [
        [(start, gpu - 0.45), (start + width, gpu - 0.45), (start + width, gpu + 0.45), (start, gpu + 0.45)]
        for start, width, gpu, _ in bars
    ]
    axes.add_collection(PolyCollection(corners, facecolors=[colour for *_, colour in bars], **style))


def _save(figure: Figure, folder: Path, name: str) -> str:
    figure.savefig(folder / name)
    return name
