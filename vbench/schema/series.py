"""Telemetry of a run: `telemetry.npz`. Reads and writes that file, and does not know who samples.

Columns are named group/name: `server/requests_running`, `cpu/frontend0_s`, `gpu0/power_w`. Servers, their processes
and the GPUs are sampled at different times and share one time axis: a column is NaN at the instants of the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbench.schema.columns import write_compressed
from vbench.schema.record import Floats, atomic

Sample = tuple[float, Mapping[str, float]]  # an instant in seconds, and the values read then, by column


@dataclass(frozen=True)
class Series:
    """k samples in columns."""

    times: Floats  # (k,) seconds since the run's start, ascending; negative before it
    columns: dict[str, Floats]  # each (k,), in the unit at the end of its name; NaN where not sampled
    started_at: float  # the run's start, seconds since 1970
    missed: int = 0  # samples that could not be read

    def samples(self, name: str) -> tuple[Floats, Floats]:
        """(times, values) of one column, both (j,); empty if there is no such column."""
        values = self.columns.get(name, np.full(len(self.times), np.nan))
        finite = np.isfinite(values)
        return self.times[finite], values[finite]

    def gpus(self) -> list[str]:
        """The groups of the GPUs, in order: gpu0, gpu1, …"""
        groups = {name.partition("/")[0] for name in self.columns}
        return sorted((group for group in groups if group.startswith("gpu")), key=lambda group: int(group[3:]))

    @classmethod
    def from_samples(cls, samples: Sequence[Sample], start: float, started_at: float, missed: int) -> Series:
        """The samples as columns, in order of time. Their instants are on the clock that `start` was read from."""
        ordered = sorted(samples, key=lambda sample: sample[0])
        names = dict.fromkeys(name for _, values in ordered for name in values)
        return cls(
            times=np.array([instant - start for instant, _ in ordered], dtype=np.float64),
            columns={name: np.array([values.get(name, np.nan) for _, values in ordered]) for name in names},
            started_at=started_at,
            missed=missed,
        )

    def save(self, path: Path) -> None:
        """Writes the columns, compressed; the file appears complete or not at all."""
        facts = {"times": self.times, "started_at": np.asarray(self.started_at), "missed": np.asarray(self.missed)}
        with atomic(path) as partial, partial.open("wb") as out:
            write_compressed(out, {**facts, **self.columns})

    @classmethod
    def load(cls, path: Path) -> Series:
        """Reads what `save` wrote. Raises OSError, zipfile.BadZipFile or KeyError for any other file."""
        with path.open("rb") as file, np.load(file) as stored:  # given a path, np.load leaves a broken file open
            return cls(
                times=stored["times"],
                columns={name: stored[name] for name in stored.files if "/" in name},
                started_at=float(stored["started_at"]),
                missed=int(stored["missed"]),
            )


def growth(times: Floats, total: Floats, end: float) -> float:
    """How much a running total (k,) grew from 0 to `end` seconds; NaN if the samples do not enclose that span."""
    if len(times) < 2 or times[0] > 0 or times[-1] < end:
        return np.nan
    before, after = np.interp([0.0, end], times, total)
    return float(after - before)


def replace_by_rates(series: Series, names: Mapping[str, str]) -> Series:
    """The series with each of these running totals replaced, under a new name, by its growth per second.

    A rate spans the time since the sample before; the first sample has none and is NaN.
    """
    columns = dict(series.columns)
    for name, rate_name in names.items():
        if name in columns:
            times, values = series.samples(name)
            rate = np.full(len(series.times), np.nan)
            rate[np.flatnonzero(np.isfinite(columns.pop(name)))[1:]] = np.diff(values) / np.diff(times)
            columns[rate_name] = rate
    return dataclasses.replace(series, columns=columns)
