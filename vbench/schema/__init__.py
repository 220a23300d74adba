"""What a run is made of (its config, the only place of defaults), what it found, and what can go wrong.

Imports no other room and does not know how a config is composed, measured or shown; conf/ states what differs from the
defaults here. `record` and `series`, which hold results, are imported by their own names: they need NumPy.
"""

from vbench.schema.engine import Engine, MoeRouting, Parallelism, Weights
from vbench.schema.fields import MISSING, Key, keys
from vbench.schema.hardware import Gpu, Hardware, Slurm
from vbench.schema.loads import Agents, Conversations, Order, Prefix, Replay, Routing, TimeUnit
from vbench.schema.model import Model
from vbench.schema.run import Launcher, Rerun, RunConfig
from vbench.schema.serialisation import effective_config, from_plain, to_plain
from vbench.schema.workload import Lengths, RampUp, Search, Slo, Workload

__all__ = [
    "MISSING",
    "Agents",
    "Conversations",
    "Engine",
    "Gpu",
    "Hardware",
    "Key",
    "Launcher",
    "Lengths",
    "Model",
    "MoeRouting",
    "Order",
    "Parallelism",
    "Prefix",
    "RampUp",
    "Replay",
    "Rerun",
    "Routing",
    "RunConfig",
    "Search",
    "Slo",
    "Slurm",
    "TimeUnit",
    "Weights",
    "Workload",
    "effective_config",
    "from_plain",
    "keys",
    "to_plain",
]
