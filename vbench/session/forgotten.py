"""Ends a load whose last requests their server has forgotten: it lives, has nothing to do, and their replies never end.

Only the server's own counts tell that, read once a second by `telemetry`. They are as of the engine's last step: a
request that came later is in none, and may be in a first step that takes long. So they count at once only where the
engine made tokens several times since, and its address has no other engine; else after UNSURE_S, longer than vLLM
lets a step last. A server that vbench did not start is never judged: its address may be that of several, and its
counts those of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from vbench.loadgen import Progress
from vbench.schema.series import Sample
from vbench.session.context import Servers

IDLE_S, UNSURE_S = 30.0, 600.0
REPORTED_S = 5.0  # between two answers of the server: where they are further apart, it may have been busy
ARRIVED_S, STEPS = 1.0, 3  # after it was sent, and then as many samples with new tokens, a request is in the counts
COUNTS = ("server/requests_running", "server/requests_waiting", "server/generation_tokens")
Sampled = tuple[float, bool, float]  # an instant, whether a request ran or waited then, tokens made so far


class ForgottenRequests:
    """Takes the progress of a load, report by report; says so once its open requests are forgotten."""

    def __init__(
        self, servers: Servers, rows: Sequence[Sample], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`rows` grows by a sample of the servers a second, with its instant on this clock."""
        self._is_ours = all(server.process is not None for server in servers.servers)
        self._is_single = servers.engine_count == 1
        self._rows, self._clock = rows, clock
        self._last: tuple[float, ...] = ()
        self._quiet_since = 0.0

    def __call__(self, progress: Progress) -> str:
        seen = (progress.reads, progress.completed, progress.in_flight, progress.newest_open_s)
        if seen != self._last:
            self._last, self._quiet_since = seen, progress.elapsed_s
        quiet_s = progress.elapsed_s - self._quiet_since
        is_open = progress.in_flight > 0 and math.isfinite(progress.newest_open_s)
        if not (self._is_ours and is_open) or quiet_s < IDLE_S:
            return ""
        now, samples = self._clock(), find_counts(self._rows)
        idle_s = min(quiet_s, now - find_idle_since(samples, now))
        arrived = now - progress.elapsed_s + progress.newest_open_s + ARRIVED_S
        is_sure = self._is_single and count_steps(samples, arrived) >= STEPS
        if idle_s < (IDLE_S if is_sure else UNSURE_S):
            return ""
        counted = f"its counts (/metrics) had none running and none waiting for {idle_s:.0f} s"
        return f"the server forgot {progress.in_flight} open request{'s'[: progress.in_flight > 1]}: {counted}"


def find_counts(rows: Sequence[Sample]) -> list[Sampled]:
    """The samples in which the servers told all of COUNTS, in order."""
    told = [(at, *(row[name] for name in COUNTS)) for at, row in list(rows) if all(name in row for name in COUNTS)]
    return [(at, running + waiting > 0, tokens) for at, running, waiting, tokens in told]


def find_idle_since(samples: Sequence[Sampled], now: float) -> float:
    """Since when every sample has told of a server without a request; `now` if the last does not."""
    since = now
    for at, is_busy, tokens in reversed(samples):
        if is_busy or tokens != samples[-1][2] or since - at > REPORTED_S:
            break
        since = at
    return since


def count_steps(samples: Sequence[Sampled], since: float) -> int:
    """In how many samples after this instant there were new tokens since the sample before."""
    return sum(before[0] >= since and after[2] > before[2] for before, after in pairwise(samples))
