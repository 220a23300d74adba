"""Every number and verdict of a run, derived from its raw columns: latencies, throughput, goodput, pauses, energy.

Pure: it knows neither where the columns come from nor where the numbers go. docs/metrics.md lists every key, names.py
what people call it.
"""

from vbench.metrics.definitions import is_success, latencies, metrics
from vbench.metrics.validity import Judgement, judge

__all__ = ["Judgement", "is_success", "judge", "latencies", "metrics"]
