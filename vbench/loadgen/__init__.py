"""The load client: sends a load to the servers and stamps what comes back.

    with Workers(choose_count(streams=512, cores=16)) as workers:
        requests, client = workers.run(load)

`Requests` are the facts of the run; `Client` says how far the instrument itself can be believed.
"""

from vbench.loadgen.load import REPORT_S, Client, Ended, Endpoint, Load, Progress
from vbench.loadgen.workers import ClientLost, Workers, choose_count, count_needed

__all__ = [
    "REPORT_S",
    "Client",
    "ClientLost",
    "Ended",
    "Endpoint",
    "Load",
    "Progress",
    "Workers",
    "choose_count",
    "count_needed",
]
