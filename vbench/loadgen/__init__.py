"""The load client: sends a load to the servers and stamps what comes back.

    with Workers(processes_for(streams=512, cores=16)) as workers:
        requests, client = workers.run(load)

`Requests` are the facts of the run; `Client` says how far the instrument itself can be believed.
"""

from vbench.loadgen.load import Client, Endpoint, Load, Progress
from vbench.loadgen.workers import ClientLost, Workers, enough_for, processes_for

__all__ = ["Client", "ClientLost", "Endpoint", "Load", "Progress", "Workers", "enough_for", "processes_for"]
