"""How a server is started: its arguments and environment, from a session's plan. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from vbench.engine import routing
from vbench.engine.versions import JIT_MONITOR_VERBOSE, has_option
from vbench.plan.program import find_image, find_package_position
from vbench.plan.sessions import Session
from vbench.schema import Engine, Weights

MARK = "VBENCH_SERVER"  # set in the environment of a server and of its child processes, to find them again

NOT_INHERITED = {
    "VLLM_SERVER_DEV_MODE",  # lets every user of the host call into the workers; see needs_pausing
    "VLLM_API_KEY",  # vbench alone talks to its servers, and sends them no key
}


def resolve_program(engine: Engine) -> list[str]:
    """Returns the engine's command; a first word `python` becomes the interpreter that runs vbench."""
    first, *rest = engine.command
    return [sys.executable if first == "python" else first, *rest]


def pass_variables(argv: Sequence[str], wrapper_length: int, variables: Mapping[str, str]) -> list[str]:
    """The command line with `env NAME=VALUE …` between the wrapper and the server's program.

    A wrapper may drop variables (podman) or set its own: srun gives a step all GPUs of the job, not those of the
    lease.
    """
    if not wrapper_length:
        return [*argv]
    said = [f"{name}={value}" for name, value in variables.items()]
    return [*argv[:wrapper_length], "env", *said, *argv[wrapper_length:]]


def find_unreachable_program(command: Sequence[str]) -> str | None:
    """Why variables cannot be set for the server of this command; None if they can.

    A container's runtime drops ours. Without CUDA_VISIBLE_DEVICES the server would use other GPUs than those of its
    lease.
    """
    image = find_image(command)
    if image is None or find_package_position(command) is not None:
        return None
    return (
        f"engine.command: {image} starts its server by itself, without vbench's variables, the GPUs among them; name "
        f'the program behind the image: […,"--entrypoint=",{image},vllm,serve]'
    )


def build_server_argv(
    session: Session, model: str, served_model_name: str, port: int, engine_version: str = ""
) -> list[str]:
    """The command line of one replica, in vLLM's argument names. `model` is a hub id or a folder.

    `engine_version` is as in `identity.ask_engine_version`; an unknown one gets only options that all versions have.
    """
    engine, split = session.engine, session.parallelism
    engines = session.engines_per_server
    options: list[tuple[str, object]] = [
        ("--model", model),
        ("--revision", None if engine.weights is Weights.dummy else session.model.revision),
        ("--served-model-name", served_model_name),
        ("--host", "127.0.0.1"),
        ("--port", port),
        ("--max-model-len", engine.max_model_len),
        ("--gpu-memory-utilization", engine.gpu_memory_utilization),
        ("--tensor-parallel-size", split.tensor_parallel_size),
        ("--pipeline-parallel-size", split.pipeline_parallel_size),
        ("--data-parallel-size", engines if engines > 1 else None),  # replicas are servers of their own
        ("--max-num-seqs", engine.max_num_seqs),
        ("--max-num-batched-tokens", engine.max_num_batched_tokens),
        ("--load-format", "dummy" if engine.weights is Weights.dummy else None),
    ]
    flags = [
        ("--disable-uvicorn-access-log", True),  # logging each request would cost the front end throughput
        ("--enforce-eager", engine.enforce_eager),
        ("--enable-expert-parallel", split.enable_expert_parallel),
        ("--enable-prefix-caching", engine.enable_prefix_caching is True),
        ("--no-enable-prefix-caching", engine.enable_prefix_caching is False),
        # Costs nothing at a launch: the hook runs when a kernel has been compiled, and then also formats its constants.
        (JIT_MONITOR_VERBOSE, has_option(engine_version, JIT_MONITOR_VERBOSE)),
    ]
    return [
        *resolve_program(engine),
        *(word for option, value in options if value is not None for word in (option, str(value))),
        *(flag for flag, wanted in flags if wanted),
        *engine.extra_args,
    ]


def needs_pausing(session: Session) -> bool:
    """Whether the rehearsal pauses the engine to put several prompts into one step, as it does for experts on GPUs.

    Not that of several engines that share a server: `session.stepwalk` says why.

    vLLM offers that in its development mode only, which also lets every user of the host call into the workers.
    """
    return bool(session.hardware.gpus and session.model.num_experts and session.engines_per_server == 1)


def find_unset_variable(engine: Engine, surroundings: Mapping[str, str]) -> str | None:
    """Why the session cannot run in this environment: a variable that its config names is not set. None if all are."""
    named = {"engine.env_from": engine.env_from, "engine.api_key_env": [engine.api_key_env or ""]}
    unset = [
        (key, name) for key, names in named.items() for name in names if name and not surroundings.get(name, "").strip()
    ]
    return f"{unset[0][0]}: {unset[0][1]} is not set in the environment; export it" if unset else None


def build_server_env(surroundings: Mapping[str, str], chosen: Mapping[str, str], is_wrapped: bool) -> dict[str, str]:
    """The environment of one replica: what it inherits, what `choose_variables` gives, and Triton's own cache folder.

    vLLM 0.26 and torch would move that folder to one for each `max_model_len` and other options: a session with other
    options compiled every kernel again. The host's home may not exist behind a wrapper, as in a container.
    """
    inherited = {name: value for name, value in surroundings.items() if name not in NOT_INHERITED}
    home = inherited.get("TRITON_HOME") or inherited.get("HOME")
    kernels = {"TRITON_CACHE_DIR": str(PurePath(home, ".triton", "cache"))} if home and not is_wrapped else {}
    return kernels | inherited | dict(chosen)


def choose_variables(session: Session, gpus: Sequence[str], mark: str) -> dict[str, str]:
    """The variables that we set for one replica, no secrets. `gpus` are UUIDs; without any it runs on the CPU."""
    env = {
        "VLLM_NO_USAGE_STATS": "1",
        **({"VLLM_SERVER_DEV_MODE": "1"} if needs_pausing(session) else {}),
        "SPT_NOENV": "1",  # keeps setproctitle from overwriting the environment, which holds the mark
        MARK: mark,
        **routing.build_environment(session.engine),
        **session.engine.env,
    }
    if gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if session.engine.weights is Weights.dummy:
        env["HF_HUB_OFFLINE"] = "1"
    return env
