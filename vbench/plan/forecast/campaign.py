"""The forecast of a campaign: its sessions, their points, and what they take together. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from vbench.plan.forecast.durations import estimate_seconds
from vbench.plan.forecast.estimate import Basis, Estimate, Total, add_up, weakest
from vbench.plan.forecast.packing import Slot, pack
from vbench.plan.forecast.performance import Performance
from vbench.plan.forecast.starts import Start, estimate_rehearsal, estimate_start
from vbench.plan.memory.estimate import Fit, estimate_fit
from vbench.plan.sessions import Run, Session

STOP = Estimate(5.0, 1.0, 15.0, Basis.assumed, "servers end and their memory is freed")
SIZES = (1, 2, 4, 8, 16, 32, 64)  # GPUs of a pool that a plan tells the wall time for


@dataclass(frozen=True)
class PlannedRun:
    """A run of a session; `seconds` is None if it is recorded already, or cannot be run."""

    run: Run
    expected: Performance | None
    seconds: Estimate | None


@dataclass(frozen=True)
class PlannedSession:
    """A session; `infeasible` says why it is not started, "" if it is."""

    session: Session
    runs: tuple[PlannedRun, ...]
    start: Estimate
    rehearsal: Estimate
    infeasible: str = ""
    price: float | None = None  # $ an hour of one of its GPUs
    fit: Fit | None = None  # of a replica's memory; None if it cannot be told

    @property
    def missing(self) -> list[PlannedRun]:
        """The runs that will be measured."""
        return [run for run in self.runs if run.seconds is not None]

    @property
    def gpus(self) -> int:
        return 0 if self.session.is_external else self.session.hardware.gpus

    @property
    def pool(self) -> str:
        """Which GPUs it competes for: their name, or SLURM's partition of them; "cpu", "external"."""
        if self.session.is_external:
            return "external"
        gpu, partition = self.session.hardware.gpu, self.session.hardware.slurm.partition
        return " in ".join(filter(None, (gpu.name if gpu else "cpu", partition)))

    @cached_property
    def seconds(self) -> Total:
        """Seconds for which it holds its GPUs; 0 if it is not started."""
        runs = [run.seconds for run in self.runs if run.seconds is not None]
        if not runs:
            return Total()
        return add_up(runs if self.session.is_external else [self.start, self.rehearsal, *runs, STOP])

    @property
    def gpu_hours(self) -> Total:
        return self.seconds.times(self.gpus / 3600)

    @property
    def dollars(self) -> Total | None:
        """None if its GPU has no price."""
        return None if self.price is None else self.gpu_hours.times(self.price)

    @property
    def basis(self) -> Basis | None:
        """The weakest basis of its runs' seconds; None if none is missing."""
        return weakest(run.seconds.basis for run in self.runs if run.seconds is not None)


@dataclass(frozen=True)
class Forecast:
    """What a campaign will take and show."""

    sessions: tuple[PlannedSession, ...]
    predicted: int = 0  # points that the step model was asked for
    not_predicted: int = 0  # points that it was not asked for, because the grid is too large

    @property
    def started(self) -> list[PlannedSession]:
        """The sessions that will be started."""
        return [each for each in self.sessions if each.missing]

    @property
    def gpu_hours(self) -> Total:
        return add_up(each.gpu_hours for each in self.sessions)

    @property
    def dollars(self) -> Total | None:
        """None if a session that needs GPUs has no price."""
        priced = [each.dollars for each in self.started if each.gpus]
        found = [each for each in priced if each is not None]
        return add_up(found) if found and len(found) == len(priced) else None

    @property
    def pools(self) -> dict[str, list[PlannedSession]]:
        """The sessions to start, by the GPUs that they compete for."""
        found = defaultdict(list)
        for each in self.started:
            found[each.pool].append(each)
        return dict(found)


def forecast(
    sessions: Sequence[Session],
    recorded: Collection[str],
    infeasible: Mapping[str, str],
    starts: Sequence[Start],
    expect: Callable[[Run], Performance | None],
    prices: Mapping[str, float],
) -> Forecast:
    """The forecast of these sessions.

    `recorded` are the keys of the runs that need not be measured, `infeasible` why a session cannot be started, by its
    folder, `starts` what is known of starts, `expect` what a run will show, `prices` $ an hour of one GPU by its name:
    without one, its own price counts.
    """
    return Forecast(
        tuple(
            replace(
                _plan_session(each, recorded, infeasible.get(each.folder, ""), starts, expect),
                price=_find_price(each, prices),
            )
            for each in sessions
        )
    )


def _plan_session(
    session: Session,
    recorded: Collection[str],
    infeasible: str,
    starts: Sequence[Start],
    expect: Callable[[Run], Performance | None],
) -> PlannedSession:
    runs = []
    for run in session.runs:
        expected = None if infeasible else expect(run)
        missing = not infeasible and run.key not in recorded
        runs.append(PlannedRun(run, expected, estimate_seconds(run, expected) if missing else None))
    start, rehearsal = estimate_start(session, starts), estimate_rehearsal(session, starts)
    return PlannedSession(session, tuple(runs), start, rehearsal, infeasible, fit=_find_fit(session))


def _find_fit(session: Session) -> Fit | None:
    if session.is_external:
        return None
    try:
        return estimate_fit(session.runs[0].config)
    except ValueError:  # no GPU, or layers or a quantization that are not known
        return None


def _find_price(session: Session, prices: Mapping[str, float]) -> float | None:
    gpu = session.hardware.gpu
    return prices.get(gpu.name, gpu.price_per_hour) if gpu else None


def pack_pool(sessions: Sequence[PlannedSession], gpus: int) -> list[Slot]:
    """When each of these sessions has its GPUs, on a pool of `gpus` GPUs."""
    at_once = sessions[0].session.launcher.max_parallel if sessions else None
    return pack([(each.gpus, each.seconds.value) for each in sessions], gpus, at_once)


def list_pool_sizes(sessions: Sequence[PlannedSession], given: int | None = None) -> list[int]:
    """Numbers of GPUs to tell the wall time for: the given one; else those that a session fits on, up to as many as all
    sessions use together.
    """
    largest, together = max((each.gpus for each in sessions), default=0), sum(each.gpus for each in sessions)
    if given is not None:
        return [given]
    fitting = [size for size in SIZES if size >= max(largest, 1)]
    return [size for size in fitting if size < 2 * together or size == fitting[0]]
