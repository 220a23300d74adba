"""How fast the hosts were: yardsticks that records have of every session, whatever was measured. Pure.

The client does the same work for each token, so at one load of one system its CPU time a token differs only between
hosts: their cores, their clocks, their neighbours. A slower host also slows the front end of the server. The clock of
GPUs under the same load differs where they are capped, throttled, or other cards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from vbench.analysis.loads import LOAD_AXES

SPEED = "client_us_per_token"  # µs of the client's CPU for each token of the replies
CLOCK = "gpu_mean_sm_clock_mhz"
HOST = "host_speed"  # a condition: set only where one system ran on hosts of unlike speed
ENOUGH_TOKENS = 2000  # in a point: below, the client's own start weighs too much
ALIKE_RATE = 2.0  # a client that serves fewer tokens a second wakes up more often for each of them
WAKES = 0.75  # by less than this power of the rate: of one session's loads by 0.2 to 0.65
RATE = "output_throughput"
UNLIKE = "Hosts of unlike speed"


class Yardstick(NamedTuple):
    """A metric that says how fast a host is."""

    metric: str
    unlike: float  # times as much at one point: sessions on equal hosts differ by less
    unlike_mean: float  # times as much on average over several points
    slower: int  # 1 if the slower host has more of it, -1 if it has less
    label: str
    sentence: str


YARDSTICKS = (
    Yardstick(
        SPEED,
        1.3,
        1.2,
        1,
        "host {:.1f}× slower",
        "a token cost the client {times:.1f} times as much CPU time on {slow} as on {fast}",
    ),
    Yardstick(
        CLOCK,
        1.1,
        1.1,
        -1,
        "GPU clock {:.2f}× lower",
        "the GPUs' clock was {times:.2f} times as high on {fast} as on {slow}",
    ),
)
HOST_METRICS = (*(each.metric for each in YARDSTICKS), RATE)  # what `describe_hosts` needs


def join_columns(rows: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """What a row has in these columns, as one text: a key to group by."""
    cells = zip(*(rows[column] for column in columns), strict=True)
    return pd.Series(["\n".join(map(str, each)) for each in cells], index=rows.index, dtype=object)


def add_speed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with SPEED; NaN where a run has too few tokens, or does not say."""
    seconds = rows["client_cpu_s"] if "client_cpu_s" in rows else pd.Series(np.nan, index=rows.index)
    tokens = rows["total_output_tokens"]
    clock = rows.get(CLOCK, np.nan)
    return rows.assign(**{SPEED: (1e6 * seconds / tokens.where(tokens >= ENOUGH_TOKENS)).astype(float), CLOCK: clock})


def add_hosts(rows: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """The rows with HOST: how many times as slow their host was as the fastest that served the same system, in words.

    Sessions are compared at the loads that they share. None where no session differs from another.
    """
    found = pd.Series(None, index=rows.index, dtype=object)
    timed = rows[rows["server"].notna() & rows[[each.metric for each in YARDSTICKS]].notna().any(axis=1)]
    if len(timed["server"].unique()) > 1:
        loads = [axis.column for axis in LOAD_AXES if axis.column in timed]
        system = ["model", "hardware", "parallelism", *(each for each in conditions if each not in loads)]
        timed = timed.assign(load_key=join_columns(timed, loads))
        for _, alike in timed.groupby(join_columns(timed, system), sort=False):
            if len(alike["server"].unique()) > 1:
                words = [_find_slower(alike, each) for each in YARDSTICKS]
                servers = set().union(*words)
                said = {server: " · ".join(each[server] for each in words if server in each) for server in servers}
                found.update(alike["server"].map(said).dropna())
    return rows.assign(**{HOST: found})


def describe_hosts(pairs: pd.DataFrame, one: str, other: str, where: str = "") -> list[str]:
    """Which of two sides had the slower hosts, in sentences; none if they were alike, or if nothing tells.

    Takes rows of `match_points` with the YARDSTICKS' metrics and RATE.
    """
    told = []
    for each, log in _find_unlike(pairs):
        slow, fast = (one, other) if log > 0 else (other, one)
        what = each.sentence.format(times=math.exp(abs(log)), slow=slow, fast=fast)
        told.append(f"{UNLIKE}{where}: {what}, so the hosts may be part of the difference.")
    return told


def find_slowdown(pairs: pd.DataFrame) -> float:
    """How many times as slow the first side's hosts were, by the yardstick that says most; 1 if they were alike."""
    logs = [log for _, log in _find_unlike(pairs)]
    return math.exp(max(logs, key=abs, default=0.0))


def _find_unlike(pairs: pd.DataFrame) -> list[tuple[Yardstick, float]]:
    """Each yardstick by which the hosts differed, and the logarithm of how much slower those of the first side were.

    The client's time is compared at points at which both sides served about as many tokens a second, and must differ
    by more than its wake-ups for fewer tokens explain.
    """
    by = [each for each in pairs if each not in ("metric", "log", "variance", "df", "starts", "starts_base")]
    logs = {metric: rows.set_index(by)["log"] for metric, rows in pairs.groupby("metric")}
    found = []
    for each in YARDSTICKS:
        known, explained = logs.get(each.metric, pd.Series(dtype=float)), 0.0
        if each.metric == SPEED and len(known):
            rates = logs[RATE].reindex(known.index)
            known = known[rates.abs() <= math.log(ALIKE_RATE)]
            explained = -WAKES * float(rates[known.index].mean()) if len(known) else 0.0
        mean = float(known.mean()) * each.slower if len(known) else 0.0
        least = math.log(each.unlike if len(known) == 1 else each.unlike_mean)
        if abs(mean) > max(least, explained * math.copysign(1.0, mean)):
            found.append((each, mean))
    return found


def _find_slower(alike: pd.DataFrame, by: Yardstick) -> dict[str, str]:
    """The label of each slow server of one system; empty if its hosts were alike."""
    logs = alike.assign(log=np.log(alike[by.metric].astype(float)) * by.slower)
    points = logs.pivot_table("log", "load_key", "server") if logs["log"].notna().any() else pd.DataFrame()
    points = points[points.notna().sum(axis=1) > 1] if len(points) else points
    if points.empty:
        return {}
    deviations = points.sub(points.mean(axis=1), axis=0).mean().dropna().sort_values()
    steps = (deviations.diff() > math.log(by.unlike)).cumsum()
    means = deviations.groupby(steps).transform("mean")
    times = np.exp(means - means.min())
    return {str(server): by.label.format(value) for server, value in times.items() if value > 1.0}
