"""The one schema: what a run is made of, and the only place of defaults.

YAML under conf/ states what differs from these. Engine options carry vLLM's argument names, load options
`vllm bench serve`'s, model facts the keys of the model's published config.json.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Dict, List, Optional, Union, get_args, get_type_hints

MISSING = "???"  # OmegaConf's mark for a value that must be given


class Weights(Enum):
    """Where the weights come from. `dummy`: random values of the right shape, so speed without a download."""

    hub = "hub"
    dummy = "dummy"


class Lengths(Enum):
    """Where prompt and reply lengths come from. `none`: there are no prompts, the server is only started."""

    sharegpt = "sharegpt"
    random = "random"
    sharegpt_file = "sharegpt_file"
    trace = "trace"
    none = "none"


class RampUp(Enum):
    """How the arrival rate moves over the requests of a run: in even steps, or by an even factor."""

    linear = "linear"
    exponential = "exponential"


class Search(Enum):
    """What a search for the highest load that meets the SLO varies."""

    max_concurrency = "max_concurrency"
    request_rate = "request_rate"


class Rerun(Enum):
    """What is measured again though it is known. A run that failed for a passing reason was never known."""

    none = "none"
    failed = "failed"
    invalid = "invalid"
    all = "all"


@dataclass(frozen=True)
class Model:
    """A model: its hub id and the architecture facts of its config.json."""

    name: str = MISSING
    hub_id: str = MISSING
    architecture: str = MISSING
    model_type: str = MISSING
    num_hidden_layers: int = MISSING  # type: ignore[assignment]
    hidden_size: int = MISSING  # type: ignore[assignment]
    intermediate_size: int = MISSING  # type: ignore[assignment]
    num_attention_heads: int = MISSING  # type: ignore[assignment]
    num_key_value_heads: int = MISSING  # type: ignore[assignment]
    head_dim: int = MISSING  # type: ignore[assignment]
    vocab_size: int = MISSING  # type: ignore[assignment]
    max_position_embeddings: int = MISSING  # type: ignore[assignment]
    num_experts: int = 0  # 0: a dense model
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0  # width of one expert; 0: intermediate_size
    sliding_window: Optional[int] = None
    weight_dtype: str = "bfloat16"  # as stored: bfloat16, fp8, mxfp4
    kv_cache_dtype: str = "bfloat16"
    rope_theta: float = 10000.0
    rope_scaling: Optional[Dict[str, Any]] = None
    config_json: Dict[str, Any] = field(default_factory=dict)  # its other keys, as published, for weights=dummy


@dataclass(frozen=True)
class Gpu:
    """One GPU's facts, from the vendor's datasheet; memory as the driver reports it; null where unknown."""

    name: str = MISSING
    product: str = MISSING  # regular expression matched against NVML's product name
    memory_mib: int = MISSING  # type: ignore[assignment]
    memory_bandwidth_gb_s: Optional[float] = None
    bf16_tflops: Optional[float] = None  # dense
    fp8_tflops: Optional[float] = None  # dense; null where the chip has none
    link: Optional[str] = None
    link_gb_s: Optional[float] = None  # both directions of one GPU together
    price_per_hour: Optional[float] = None  # yours to set: $ a GPU


@dataclass(frozen=True)
class Slurm:
    """What a batch job asks for, beside its GPUs."""

    partition: Optional[str] = None
    gres_type: Optional[str] = None
    account: Optional[str] = None
    qos: Optional[str] = None
    constraint: Optional[str] = None
    time_min: Optional[int] = None  # null: from the plan
    cpus_per_gpu: int = 8  # without a GPU: of the session
    mem_gib_per_gpu: int = 64
    extra: Dict[str, str] = field(default_factory=dict)  # further parameters of sbatch: {reservation: maintenance}


@dataclass(frozen=True)
class Hardware:
    """A number of equal GPUs of one host; none is the CPU."""

    gpus: int = 0
    gpu: Optional[Gpu] = None
    slurm: Slurm = field(default_factory=Slurm)

    @property
    def name(self) -> str:
        return f"{self.gpus}x{self.gpu.name}" if self.gpu else "cpu"

    @property
    def devices(self) -> int:
        """Places to split a model over: the GPUs, or the one CPU."""
        return max(self.gpus, 1)


@dataclass(frozen=True)
class Parallelism:
    """How the model is split. One size may be null: it takes the devices that the others leave.

    `data_parallel_size` counts whole replicas: servers of their own, each with its own front end.
    """

    tensor_parallel_size: Optional[int] = 1
    pipeline_parallel_size: Optional[int] = 1
    data_parallel_size: Optional[int] = 1
    enable_expert_parallel: bool = False


@dataclass(frozen=True)
class Engine:
    """vLLM's options, under its own argument names; null leaves vLLM's default.

    Or, with `base_url`, a server that already runs: any that speaks OpenAI's API.
    """

    command: List[str] = field(default_factory=lambda: ["python", "-m", "vllm.entrypoints.openai.api_server"])
    weights: Weights = Weights.hub
    max_model_len: Union[int, str] = 2000  # or auto: the longest that fits, as vLLM finds it
    gpu_memory_utilization: float = 0.95
    max_num_seqs: Optional[int] = None
    max_num_batched_tokens: Optional[int] = None
    enable_prefix_caching: Optional[bool] = None
    enforce_eager: bool = False
    extra_args: List[str] = field(default_factory=list)
    env: Dict[str, str] = field(default_factory=dict)
    start_timeout_s: float = 1800.0
    base_url: Optional[str] = None  # http://host:8000, with or without /v1; then nothing is started
    served_model_name: Optional[str] = None  # there; null: the only one that it lists
    api_key_env: Optional[str] = None  # the NAME of the environment variable that holds the key
    chat: bool = False  # chat completions; prompt lengths are then approximate


ATTACHED = ("base_url", "served_model_name", "api_key_env", "chat")  # what an Engine says of a server that runs already


@dataclass(frozen=True)
class Slo:
    """Objectives that a request meets or misses; null is none."""

    ttft_ms: Optional[float] = None
    tpot_ms: Optional[float] = None
    e2el_ms: Optional[float] = None

    @property
    def limits(self) -> Dict[str, float]:
        """The objectives that are set."""
        return {key: limit for key, limit in dataclasses.asdict(self).items() if limit is not None}


@dataclass(frozen=True)
class Workload:
    """The load of one run."""

    lengths: Lengths = Lengths.sharegpt
    num_prompts: int = 10
    request_rate: float = math.inf  # requests a second; inf sends all at once
    burstiness: float = 1.0  # gamma shape of the gaps: 1 is Poisson, below is burstier
    ramp_up_strategy: Optional[RampUp] = None  # in place of request_rate: from start to end over the requests
    ramp_up_start_rps: Optional[float] = None
    ramp_up_end_rps: Optional[float] = None
    max_concurrency: Optional[int] = None
    seed: int = 0
    repeats: int = 1  # runs of this point, each with a fresh seed: seed, seed + 1, …
    ignore_eos: bool = True
    input_len: Any = 1024  # random: a number of tokens, or [least, most], both included
    output_len: Any = 128
    path: Optional[str] = None  # sharegpt_file: the ShareGPT JSON; trace: its CSV or JSONL
    slo: Slo = field(default_factory=Slo)
    search: Optional[Search] = None  # the highest load that meets the slo, by probes of at least num_prompts each
    client_processes: Optional[int] = None  # null: by cores and expected streams

    @property
    def idle(self) -> bool:
        """Whether nothing is sent: such a run is a start of the server, and what it then says of itself."""
        return self.lengths is Lengths.none

    @property
    def paced(self) -> bool:
        """Whether requests are wanted at times of their own, not all at once."""
        return math.isfinite(self.request_rate) or self.ramp_up_strategy is not None or self.lengths is Lengths.trace


@dataclass(frozen=True)
class Launcher:
    """How the sessions of a campaign are carried out; hydra/launcher says where."""

    max_parallel: Optional[int] = None  # jobs of an experiment; null: what keeps this host busy, elsewhere no bound
    exclusive: bool = False  # on this host: a session has it alone
    detach: bool = False  # return once the sessions are submitted
    retries: int = 1  # of a session that failed for a passing reason
    setup: List[str] = field(default_factory=list)  # lines of shell before a job: module load cuda


@dataclass(frozen=True)
class RunConfig:
    """One point: everything that shapes its result, and labels that do not."""

    model: Model = field(default_factory=Model)
    hardware: Hardware = field(default_factory=Hardware)
    parallelism: Parallelism = field(default_factory=Parallelism)
    engine: Engine = field(default_factory=Engine)
    workload: Workload = field(default_factory=Workload)
    experiment: str = "default"  # label: the MLflow experiment and the folder below multirun/
    rerun: Union[bool, str] = False  # measure again: true or all; failed; invalid
    launcher: Launcher = field(default_factory=Launcher)

    @property
    def again(self) -> Rerun:
        """`rerun` as a word. Raises KeyError where it is none."""
        return {False: Rerun.none, True: Rerun.all}[self.rerun] if isinstance(self.rerun, bool) else Rerun[self.rerun]

    @property
    def system(self) -> str:
        """The hardware's name; `remote` where a server that already runs does not say what it runs on."""
        return "remote" if self.engine.base_url is not None and not self.hardware.gpu else self.hardware.name


def plain(value: Any) -> Any:
    """The same as JSON holds it: dataclasses as dicts, enums by name, infinity as "inf"."""
    if dataclasses.is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def applied(config: RunConfig) -> Dict[str, Any]:
    """The config in plain data, less the engine's options that shaped nothing because the server ran already."""
    facts: Dict[str, Any] = plain(config)
    if config.engine.base_url is not None:
        facts["engine"] = {key: value for key, value in facts["engine"].items() if key in ATTACHED}
    return facts


def typed(part: type, data: Mapping[str, Any], path: str = "") -> Any:
    """The opposite of `plain`: a dataclass from a dict that holds it, what is absent by its default.

    Raises KeyError, naming the full key, where the dict has a key that the schema has not, or lacks a value that must
    be given.
    """
    hints = _hints(part)
    if unknown := set(data) - set(hints):
        raise KeyError(f"{path}{min(unknown)}: no such key")
    values = {key: _value(hints[key], value, f"{path}{key}") for key, value in data.items()}
    made = part(**values)
    for key in hints:
        if getattr(made, key) == MISSING:
            raise KeyError(f"{path}{key}: must be given")
    return made


def _value(hint: Any, value: Any, path: str) -> Any:
    kind = next((each for each in (hint, *get_args(hint)) if isinstance(each, type)), None)
    if value is None or kind is None:
        return value
    if dataclasses.is_dataclass(kind):
        return typed(kind, value, f"{path}.")
    if issubclass(kind, Enum):
        return value if isinstance(value, kind) else kind[value]
    return float(value) if kind is float else value


@cache
def _hints(part: type) -> dict[str, Any]:
    return get_type_hints(part)
