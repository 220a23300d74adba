"""The story of one server's lifetime: lease, start, warm up, then load, measure, judge and record each run.

It does not know where its job runs, nor how a campaign is watched.
"""

from vbench.session.story import execute, infeasible_reason, job

__all__ = ["execute", "infeasible_reason", "job"]
