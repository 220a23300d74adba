"""`vbench.jobs.batch.job`: what batch jobs that an earlier build queued are pickled to call.

`vbench/__init__.py` puts the folder two above this one on the package's path, so that they find it by that name.
"""

from vbench.campaign.jobs.batch import job

__all__ = ["job"]
