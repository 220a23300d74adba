"""One server's lifetime: lease, start, rehearse, then load, measure, judge and record each run of a session.

It does not know where its job runs, where records are delivered, nor how a campaign is watched.
"""

from vbench.session.failures import infeasible_reason
from vbench.session.jobs import run_job
from vbench.session.story import execute

__all__ = ["execute", "infeasible_reason", "run_job"]
