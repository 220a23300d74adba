"""The server under test and how the model is split over its devices, under vLLM's argument names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Optional, Union

from vbench.schema.fields import key


class Weights(Enum):
    """Where the weights come from. `dummy`: random values of the right shape, so speed without a download."""

    hub = "hub"
    dummy = "dummy"


class MoeRouting(Enum):
    """How vLLM chooses experts in place of the model's gates: the names of its own simulation, as of 0.33."""

    uniform_random = "uniform_random"  # every expert is equally likely
    normal_routing = "normal_routing"  # experts in the middle of the list are likelier


@dataclass(frozen=True)
class Parallelism:
    """How the model is split. One size may be null: it takes the devices that the others leave.

    `data_parallel_size` counts whole replicas: servers of their own, each with its own front end. What vLLM calls
    data parallel size is `attention_data_parallel_size`: engines within one server, between which experts are split.
    """

    tensor_parallel_size: Optional[int] = key(1, "devices that share each layer", allowed="null: the devices left over")
    pipeline_parallel_size: Optional[int] = key(1, "pipeline stages of layers", allowed="null: the devices left over")
    data_parallel_size: Optional[int] = key(
        1, "replicas, each a server of its own", allowed="null: the devices left over"
    )
    attention_data_parallel_size: Optional[int] = key(
        1,
        "engines of one server: attention is copied to each, experts are split over all (vLLM's --data-parallel-size)",
        allowed="null: the devices left over",
    )
    enable_expert_parallel: bool = key(False, "place whole experts on the devices instead of splitting each")

    @property
    def engine_count(self) -> int:
        """Engines in all: each schedules for itself, with `max_num_seqs` and a KV cache of its own."""
        return (self.data_parallel_size or 1) * (self.attention_data_parallel_size or 1)


@dataclass(frozen=True)
class Engine:
    """vLLM's options; null leaves vLLM's default. With `base_url`, an OpenAI-compatible server that already runs."""

    command: List[str] = key(
        ["python", "-m", "vllm.entrypoints.openai.api_server"],
        "command that starts the server; `python` is the interpreter that runs vbench",
    )
    weights: Weights = key(Weights.hub, "the published weights, or random ones of the same shape without a download")
    max_model_len: Union[int, str] = key(
        2000,
        "longest prompt and reply together",
        unit="tokens",
        choices=("auto",),
        allowed="auto: the longest that fits",
    )
    gpu_memory_utilization: float = key(0.95, "share of a GPU's memory that vLLM may use", allowed="above 0, at most 1")
    max_num_seqs: Optional[int] = key(None, "most sequences in one batch", allowed="null: vLLM's default")
    max_num_batched_tokens: Optional[int] = key(
        None, "most tokens in one step of the engine", unit="tokens", allowed="null: vLLM's default"
    )
    enable_prefix_caching: Optional[bool] = key(None, "reuse the KV cache of shared prefixes")
    enforce_eager: bool = key(False, "run without CUDA graphs")
    extra_args: List[str] = key([], "further arguments of the server, as [--seed,7]")
    env: Dict[str, str] = key({}, "environment variables of the server, as {OMP_NUM_THREADS: 1}")
    env_from: List[str] = key([], "NAMES of secrets in your environment that the server needs, as [HF_TOKEN]")
    moe_routing: Optional[MoeRouting] = key(
        None, "simulated choice of experts, which makes replies meaningless", allowed="null: the model's own gates"
    )
    restarts: int = key(
        1,
        "servers that each point is measured on, round by round over all points, each by workload.repeats",
        allowed="1 or more",
    )
    restart: int = key(0, "which of these servers this is", allowed="0: the first; vbench counts them itself")
    start_timeout_s: float = key(1800.0, "time for the server to become ready", unit="s")
    base_url: Optional[str] = key(
        None, "address of a server that already runs, as http://host:8000", allowed="null: vbench starts one"
    )
    served_model_name: Optional[str] = key(None, "model to ask of it", allowed="null: the only one that it lists")
    api_key_env: Optional[str] = key(None, "NAME of the environment variable that holds its API key")
    chat: bool = key(False, "send chat completions to it; prompt lengths are then approximate")


EXTERNAL_SERVER_KEYS = ("base_url", "served_model_name", "api_key_env", "chat")  # all that applies where nothing starts
