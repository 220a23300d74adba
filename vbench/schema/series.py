"""What was sampled beside a run, over its time: `telemetry.npz`. Pure but for its file; knows nothing of who samples.

Columns are named group/name: `server/requests_running`, `cpu/frontend0_s`, `gpu0/power_w`. Servers, their processes
and the GPUs are sampled each at their own pace and share one time axis, so a column is NaN where its source was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbench.schema.record import Floats, atomic

Row = tuple[float, Mapping[str, float]]  # an instant, and what was found then by column


@dataclass(frozen=True)
class Series:
    """k samples in columns."""

    times: Floats  # (k,) seconds since the run's start, ascending; what is below 0 was before it
    columns: dict[str, Floats]  # each (k,), in the unit that its name ends with; NaN where not sampled
    started_at: float  # the run's start, seconds since 1970
    missed: int = 0  # samples asked for that did not come

    def sampled(self, name: str) -> tuple[Floats, Floats]:
        """(times, values) where the column was sampled, both (j,); empty where there is no such column."""
        values = self.columns.get(name, np.full(len(self.times), np.nan))
        there = np.isfinite(values)
        return self.times[there], values[there]

    def gpus(self) -> list[str]:
        """The groups that are GPUs, in order: gpu0, gpu1, …"""
        groups = {name.partition("/")[0] for name in self.columns}
        return sorted((group for group in groups if group.startswith("gpu")), key=lambda group: int(group[3:]))

    def save(self, path: Path) -> None:
        """Writes the columns, compressed and whole or not at all."""
        facts = {"times": self.times, "started_at": self.started_at, "missed": self.missed}
        with atomic(path) as partial, partial.open("wb") as out:
            np.savez_compressed(out, **facts, **self.columns)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Series:
        """Reads what `save` wrote. Raises OSError or zipfile.BadZipFile, KeyError where it is no such file."""
        with path.open("rb") as file, np.load(file) as stored:  # by itself np.load leaves a broken file open
            return cls(
                times=stored["times"],
                columns={name: stored[name] for name in stored.files if "/" in name},
                started_at=float(stored["started_at"]),
                missed=int(stored["missed"]),
            )


def series(rows: Sequence[Row], start: float, started_at: float, missed: int) -> Series:
    """The rows as columns, in order of time; their instants are seconds of the clock that `start` is of."""
    ordered = sorted(rows, key=lambda row: row[0])
    names = dict.fromkeys(name for _, found in ordered for name in found)
    return Series(
        times=np.array([instant - start for instant, _ in ordered], dtype=np.float64),
        columns={name: np.array([found.get(name, np.nan) for _, found in ordered]) for name in names},
        started_at=started_at,
        missed=missed,
    )


def grown(times: Floats, total: Floats, end: float) -> float:
    """By how much a running total (k,) grew from 0 to `end`; NaN where the samples do not enclose that."""
    if len(times) < 2 or times[0] > 0 or times[-1] < end:
        return np.nan
    before, after = np.interp([0.0, end], times, total)
    return float(after - before)


def rates(found: Series, names: Mapping[str, str]) -> Series:
    """The series with each of these growing columns, by its new name, as its growth a second since the sample before.

    The first sample of such a column has no rate and is NaN.
    """
    columns = dict(found.columns)
    for name, rate_name in names.items():
        if name in columns:
            times, values = found.sampled(name)
            rate = np.full(len(found.times), np.nan)
            rate[np.flatnonzero(np.isfinite(columns.pop(name)))[1:]] = np.diff(values) / np.diff(times)
            columns[rate_name] = rate
    return dataclasses.replace(found, columns=columns)
