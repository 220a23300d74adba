"""The words for what bounds a system, in predictions and of runs that were measured."""

WEIGHTS = "weights bandwidth"
KV_BANDWIDTH = "KV bandwidth"
COMPUTE = "prefill compute"  # FLOPs: nearly all of them are of prompts
COMMUNICATION = "communication"
KV_CAPACITY = "KV capacity"
SCHEDULER = "scheduler limit"
FRONT_END = "front end"
CLIENT = "client"
OVERHEAD = "step overhead"  # scheduling, sampling and launching kernels
TOO_FEW = "too few requests"
