"""`vbench.jobs.batch.job`: the function that batch jobs queued by an earlier build call by its pickled name.

`vbench/__init__.py` puts the folder two above this one on the package's path, so that these jobs find it by that name.
"""

from vbench.campaign.jobs.batch import job

__all__ = ["job"]
