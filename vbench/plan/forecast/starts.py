"""How long a server takes to start and to be rehearsed, from recorded starts. Pure.

A start depends on the model (weights, compilation), on the split and on how warm the caches are. Starts of the very
system come first, then those of its model on the GPU, then those of any model on it. Without any, the published starts
that are most alike are assumed (`published_starts`). A start of another program tells nothing: a fake server in vLLM's
stead is ready at once.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.forecast.published_starts import choose_alike
from vbench.plan.naming import split_name
from vbench.plan.program import name_program
from vbench.plan.sessions import Session
from vbench.schema import Parallelism, from_plain
from vbench.schema.record import Record

# Seconds: (typical, least, most). On a CPU: the tiny model, with and without compilation.
START_ON_CPU = (60.0, 32.0, 84.0)
REHEARSAL_ON_GPU, REHEARSAL_ON_CPU = (32.0, 10.0, 60.0), (5.0, 2.0, 20.0)
REHEARSAL_OF_EXPERTS = (41.0, 24.0, 536.0)  # kernels of experts compile for many step sizes if no cache has them
SPREAD = 0.35  # of a single start, either way: those of one system were up to so far from their median


@dataclass(frozen=True)
class Start:
    """A start that was recorded."""

    model: str
    gpu: str  # "cpu" without one
    gpus: int
    split: str
    program: str  # whose server it was, as `name_program` says
    start_s: float
    rehearsal_s: float | None  # None if the server was not rehearsed


def read_starts(records: Iterable[Record]) -> list[Start]:
    """The starts of these records, each once however many runs were measured on it."""
    found: dict[tuple[str, float], Start] = {}
    for record in records:
        seconds, config = record.server.get("start_s"), record.config
        if not isinstance(seconds, (int, float)) or config["engine"].get("base_url"):
            continue
        gpu, rehearsal = config["hardware"]["gpu"], record.server.get("rehearsal_s")
        found[record.session, seconds] = Start(
            model=config["model"]["hub_id"],
            gpu=gpu["name"] if gpu else "cpu",
            gpus=config["hardware"]["gpus"],
            split=split_name(from_plain(Parallelism, config["parallelism"])),
            program=name_program(config["engine"]["command"]),
            start_s=float(seconds),
            rehearsal_s=float(rehearsal) if rehearsal is not None else None,
        )
    return list(found.values())


def estimate_start(session: Session, starts: Sequence[Start]) -> Estimate:
    """Seconds from the server's launch until it is ready."""
    found = _estimate_recorded(session, starts, lambda start: start.start_s, "start")
    if found is None and session.hardware.gpu:
        return _estimate_published(session)
    return found or _assume(session, "start", START_ON_CPU)


def estimate_rehearsal(session: Session, starts: Sequence[Start]) -> Estimate:
    """Seconds for which the loads are rehearsed on the ready server."""
    on_gpu = REHEARSAL_OF_EXPERTS if session.model.num_experts else REHEARSAL_ON_GPU
    assumed = on_gpu if session.hardware.gpu else REHEARSAL_ON_CPU
    found = _estimate_recorded(session, starts, lambda start: start.rehearsal_s, "rehearsal")
    return found or _assume(session, "rehearsal", assumed)


def _estimate_recorded(
    session: Session, starts: Sequence[Start], seconds_of: Callable[[Start], float | None], what: str
) -> Estimate | None:
    hardware, model = session.hardware, session.model
    gpu, split = hardware.gpu.name if hardware.gpu else "cpu", split_name(session.parallelism)
    program = name_program(session.engine.command)
    on_gpu = [start for start in starts if (start.gpu, start.program) == (gpu, program)]
    of_model = [start for start in on_gpu if start.model == model.hub_id]
    of_system = [start for start in of_model if (start.gpus, start.split) == (hardware.gpus, split)]
    tiers = (
        (of_system, Basis.measured, f"{model.name} on {hardware.name}, {split}"),
        (of_model, Basis.assumed, f"{model.name} on other numbers of {gpu}"),
        (on_gpu, Basis.assumed, f"other models on {gpu}"),
    )
    for found, basis, whose in tiers:
        seconds = [each for each in map(seconds_of, found) if each is not None]
        if seconds:
            return _spread(seconds, basis, f"{_count(len(seconds), what)} of {whose}")
    return None


def _estimate_published(session: Session) -> Estimate:
    """By the starts that vbench ships: of other hosts, so assumed."""
    found, how = choose_alike(session.model, session.hardware.gpus)
    engines = ", ".join(sorted({each.engine for each in found}))
    weights = " with random weights" if {each.weights for each in found} == {"dummy"} else ""
    source = f"no record of this host: {_count(len(found), 'start').replace('recorded', 'published')} {how}, {engines}"
    return _spread([each.start_s for each in found], Basis.assumed, f"{source}{weights}")


def _spread(seconds: Sequence[float], basis: Basis, source: str) -> Estimate:
    middle = statistics.median(seconds)
    low, high = min(*seconds, middle * (1 - SPREAD)), max(*seconds, middle * (1 + SPREAD))
    return Estimate(middle, low, high, basis, source)


def _assume(session: Session, what: str, assumed: tuple[float, float, float]) -> Estimate:
    gpu = session.hardware.gpu.name if session.hardware.gpu else "cpu"
    value, low, high = assumed
    told = f"no {what} on {gpu} is recorded below multirun/ or in the store: {low:.0f} to {high:.0f} s are usual"
    return Estimate(value, low, high, Basis.assumed, told)


def _count(number: int, what: str) -> str:
    return f"1 recorded {what}" if number == 1 else f"{number} recorded {what}s"
