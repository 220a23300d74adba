"""Why a server ended, by lines that vLLM, PyTorch, NCCL and the hub's client have printed."""

import pytest

from vbench.engine.serverlog import diagnose, find_last_words, read_facts

# (kind, a part of the telling line, the log)
LOGS = {
    "memory at load": ("oom_load", "Tried to allocate 448.00 MiB", """
(EngineCore_DP0 pid=77) ERROR 11-23 10:00:00 [core.py:901] EngineCore failed to start.
(EngineCore_DP0 pid=77) ERROR 11-23 10:00:00 [core.py:901] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 0 has a total capacity of 79.25 GiB.
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""),
    "memory at load, vLLM 0.5": ("oom_load", "torch.cuda.OutOfMemoryError", """
INFO 07-26 14:50:30 llm_engine.py:176] Initializing an LLM engine (v0.5.3.post1) with config: model='/models/llama'
[rank0]: torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU\x20
"""),
    "memory at warm-up after the graphs were captured": ("oom_load", "warming up sampler with 1024 dummy requests", """
(VllmWorker rank=0 pid=2445155) INFO 05-10 16:00:15 [gpu_model_runner.py:1686] Graph capturing finished in 112 secs, took 0.95 GiB
(VllmWorker rank=0 pid=2445155) ERROR 05-10 16:00:15 [multiproc_executor.py:470] RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering `max_num_seqs` or `gpu_memory_utilization` when initializing the engine.
ERROR 05-10 16:00:16 [core.py:396] Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause.
"""),
    "memory of one GPU of two, whose peer then loses it": ("oom_load", "OutOfMemoryError", """
(Worker_TP1 pid=9261) ERROR 12-13 11:54:35 [multiproc_executor.py:826] torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:268, remote process exited or there was a network error, NCCL version 2.27.3
(Worker_TP0 pid=9260) ERROR 12-13 11:54:35 [multiproc_executor.py:826] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""),
    "memory that NCCL lacks": ("oom_load", "Cuda failure 2 'out of memory'", """
node1:774:1021 [0] include/alloc.h:228 NCCL WARN Cuda failure 2 'out of memory'
(VllmWorker rank=0 pid=774) ERROR 05-10 16:00:15 [multiproc_executor.py:470] RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)
"""),
    "memory of a CPU host": ("oom_load", "Available memory on node 0 (8.25/10.46 GiB)", """
(EngineCore pid=23034) ERROR 11-24 15:34:10 [core.py:1415] ValueError: Available memory on node 0 (8.25/10.46 GiB) on startup is less than desired CPU memory utilization (0.999, 10.45 GiB). On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU memory reserved (despite its name).
(APIServer pid=22981) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""),
    "memory of a CPU host that its weights take, vLLM 0.33": ("oom_kv", "reserved for it on node 0", """
(EngineCore pid=23034) ERROR 11-28 15:34:10 [core.py:1415] ValueError: The worker already uses 5.21 GiB (model weights and runtime), more than the 4.18 GiB of CPU memory reserved for it on node 0, leaving none for the KV cache.
(APIServer pid=22981) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""),
    "memory of a CPU host that others took meanwhile": ("oom_kv", "Available memory on node 0 (3.25/10.46 GiB)", """
(EngineCore pid=23034) ERROR 11-28 15:34:10 [core.py:1415] ValueError: Available memory on node 0 (3.25/10.46 GiB) on kv cache allocation is less than requested memory for kv (4.01/9.42 GiB). Reduce CPU memory used by other processes.
"""),
    "no cache": ("oom_kv", "No available memory for the cache blocks", """
\x1b[1;36m(EngineCore_0 pid=215)\x1b[0;0m ERROR 08-25 11:01:23 [core.py:632] ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.
"""),
    "too little cache": ("oom_kv", "max seq len (131072)", """
(EngineCore_DP0 pid=387) ERROR 03-08 16:44:29 [core.py:1100] ValueError: To serve at least one request with the models's max seq len (131072), (16.0 GiB KV cache is needed, which is larger than the available KV cache memory (3.1 GiB). Based on the available memory, the estimated maximum model length is 25392.
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""),
    "too little cache, vLLM 0.5": ("oom_kv", "stored in KV cache (13360)", """
INFO 06-28 06:11:45 distributed_gpu_executor.py:45] # GPU blocks: 378, # CPU blocks: 1638
(VllmWorkerProcess pid=972) ERROR 06-28 06:11:45 worker_base.py:145] ValueError: The model's max seq len (163840) is larger than the maximum number of tokens that can be stored in KV cache (13360). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.
"""),
    "memory that somebody else holds": ("gpu_lost", "Free memory on device cuda:0 (31.20/79.25 GiB)", """
(EngineCore_DP0 pid=77) ERROR 11-23 10:00:00 [core.py:901] ValueError: Free memory on device cuda:0 (31.20/79.25 GiB) on startup is less than desired GPU memory utilization (0.95, 75.29 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.
"""),
    "a GPU that is gone": ("gpu_lost", "No CUDA GPUs are available", "RuntimeError: No CUDA GPUs are available"),
    "broken memory": ("gpu_lost", "uncorrectable ECC error", """
(EngineCore_DP0 pid=77) ERROR 02-05 16:55:27 [core.py:902] torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered
(APIServer pid=1) ERROR 02-05 16:55:27 [async_llm.py:420] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.
"""),
    "a fabric that is not up": ("gpu_lost", "Error 802: system not yet initialized", """
ERROR 02-20 16:43:12 engine.py:389] Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? Error 802: system not yet initialized
"""),
    "a link between GPUs": ("gpu_lost", "NCCL error: unhandled cuda error", """
(VllmWorkerProcess pid=415) ERROR 08-19 19:00:55 multiproc_worker_utils.py:226] RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)
"""),
    "a peer that does not answer": ("gpu_lost", "Watchdog caught collective operation timeout", """
[rank1]:[E1122 13:05:55.322 ProcessGroupNCCL.cpp:629] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=12, OpType=ALLREDUCE) ran for 600012 milliseconds before timing out.
(EngineCore_DP0 pid=77) ERROR 11-22 13:05:57 [core.py:901] RuntimeError: Executor failed.
"""),
    "the port, as vLLM binds it": ("port_taken", "Errno 98", "OSError: [Errno 98] Address already in use"),
    "the port, as uvicorn binds it": ("port_taken", "('0.0.0.0', 8000)", """
ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use
INFO:     Waiting for application shutdown.
"""),
    "the hub": ("unreachable", "couldn't connect to 'https://huggingface.co'", """
(APIServer pid=1) OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.
(APIServer pid=1) Check your internet connection or see how to run the library in offline mode at 'https://huggingface.co/docs/transformers/installation#offline-mode'.
"""),
    "a model that is gated": ("engine_error", "gated repo", """
(APIServer pid=1) huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-695139c1)
(APIServer pid=1) OSError: You are trying to access a gated repo.
(APIServer pid=1) Make sure to have access to it at https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct.
"""),
    "a model that vLLM does not know": ("engine_error", "['Foo'] are not supported", """
(APIServer pid=1) ValueError: Model architectures ['Foo'] are not supported for now.
RuntimeError: Engine core initialization failed. See root cause above.
"""),
    "a context beyond the model's": ("engine_error", "greater than the derived max_model_len", """
(APIServer pid=21480) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
(APIServer pid=21480)   Value error, User-specified max_model_len (999999) is greater than the derived max_model_len (max_position_embeddings=131072.0 or model_max_length=None in model's config.json).
(APIServer pid=21480)     For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""),
    "an option that vLLM does not know": ("engine_error", "unrecognized arguments: --no-such-flag", """
usage: api_server.py [-h] [--headless]
api_server.py: error: unrecognized arguments: --no-such-flag 3
"""),
    "no vLLM": ("engine_error", "No module named vllm", "/usr/bin/python3: No module named vllm"),
    "a fault of a kernel": ("engine_error", "an illegal memory access was encountered", """
(EngineCore_DP0 pid=151) ERROR 02-05 16:55:27 [core.py:902] EngineCore encountered a fatal error.
(EngineCore_DP0 pid=151) ERROR 02-05 16:55:27 [core.py:902] torch.AcceleratorError: CUDA error: an illegal memory access was encountered
(APIServer pid=1) ERROR 02-05 16:55:28 [async_llm.py:420] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.
(APIServer pid=1) KeyError: 'what came of it'
"""),
    "an engine process that the kernel killed": ("server_died", "died unexpectedly (exit code: -9)", """
(Worker pid=12) INFO 07-28 23:02:26 [gpu_model_runner.py:1892] Model loading took 1.1201 GiB and 0.494173 seconds
ERROR 07-28 23:02:27 [multiproc_executor.py:316] Worker proc VllmWorker-2 died unexpectedly (exit code: -9), shutting down executor.
(APIServer pid=1) vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.
"""),
    "an engine process that was killed at its start": ("server_died", "{'EngineCore_DP0': -9}", """
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': -9}
"""),
    "shared memory": ("server_died", "Insufficient space in /dev/shm", """
(EngineCore pid=7) ERROR 11-23 10:00:00 [core.py:901] RuntimeError: Insufficient space in /dev/shm for shared-memory ring buffer: 240 MiB required, 64 MiB free. Increase /dev/shm (e.g. --shm-size or --ipc=host).
"""),
    "a limit on open files": ("server_died", "Too many open files", """
(APIServer pid=1) OSError: [Errno 24] Too many open files
RuntimeError: Engine core initialization failed. See root cause above.
"""),
    "a limit on processes": ("server_died", "can't start new thread", """
(EngineCore_DP0 pid=7) ERROR 11-23 10:00:00 [core.py:901] RuntimeError: can't start new thread
"""),
    "a folder of the site": ("server_died", "Read-only file system", """
(EngineCore_DP0 pid=7) ERROR 11-23 10:00:00 [core.py:901] OSError: [Errno 30] Read-only file system: '/root/.triton'
"""),
    "a quota": ("server_died", "Disk quota exceeded", """
(APIServer pid=1) OSError: [Errno 122] Disk quota exceeded: '/home/me/.cache/vllm/torch_compile_cache/a'
"""),
    "a long TMPDIR": ("server_died", "longer than 107 characters", """
(APIServer pid=1) zmq.error.ZMQError: ipc path "/scratch/a/b/4a1e" is longer than 107 characters (sizeof(sockaddr_un.sun_path)).
"""),
    "nothing": ("server_died", "last line: Loading weights", "INFO 11-23 10:00:00 [loader.py:1] Loading weights"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_why_a_server_ended_is_known_by_the_line_that_tells(name):
    kind, telling, log = LOGS[name]
    found = diagnose(log, 1)
    assert (found.kind, telling in found.line) == (kind, True), found
    assert "ERROR" not in found.line
    assert "pid=" not in found.line


def test_what_vllm_only_warns_of_tells_no_failure():
    log = """
INFO 03-27 10:29:03 [model_runner.py:1442] If out of memory error occurs during cudagraph capture, consider decreasing `gpu_memory_utilization`
WARNING 03-27 10:29:03 [utils.py:12] Port 5600 is already in use, trying port 5601: [Errno 98] Address already in use
ERROR 03-27 10:29:13 [core.py:901] AssertionError: weights differ
"""
    assert diagnose(log, 1) == ("engine_error", "AssertionError: weights differ")


def test_a_server_killed_from_outside_says_by_which_signal():
    assert "killed by signal 9: by hand, or by the kernel as the host's memory ran out" in diagnose("Loading", -9).line
    assert diagnose("KeyboardInterrupt: terminated", -15).line.startswith("killed by signal 15; last line: ")


def test_of_processes_that_died_the_first_is_told():
    log = "Worker proc VllmWorker-1 died unexpectedly, shutting down executor.\nSegmentation fault (core dumped)\n"
    assert (
        diagnose(log, 1).line
        == "exit code 1; its log: Worker proc VllmWorker-1 died unexpectedly, shutting down executor."
    )


def test_an_empty_log_is_said_to_be_empty():
    assert "the log is empty" in diagnose("", 1).line


def test_a_good_start_tells_the_size_of_its_kv_cache_and_how_many_full_contexts_it_holds():
    assert read_facts("INFO [kv_cache_utils.py:1] GPU KV cache size: 205,184 tokens\n") == {"kv_cache_tokens": 205_184}
    log = "INFO [x.py:1] GPU KV cache size: 2,051,840 tokens, Maximum concurrency for 2,000 tokens per request: 1,025.92x\n"
    assert read_facts(log) == {"kv_cache_tokens": 2_051_840, "full_context_requests": 1025.92}
    assert read_facts("KV cache size: 10 tokens\nKV cache size: 20 tokens\n") == {"kv_cache_tokens": 20}  # made anew
    engines = [f"(EngineCore_DP{n} pid={n}) INFO [k.py:1] GPU KV cache size: {n}0,000 tokens" for n in (3, 2, 4)]
    assert read_facts("\n".join(engines)) == {"kv_cache_tokens": 20_000}  # each has its own
    again = f"{engines[1].replace('20,', '50,')}\n"
    assert read_facts("\n".join([*engines, again])) == {"kv_cache_tokens": 30_000}
    of_workers = [f"(Worker_PP{n} pid={n}) INFO [w.py:560] Available KV cache memory: {n}7.61 GiB" for n in (6, 5)]
    assert read_facts("\n".join(of_workers)) == {"kv_cache_gib": 57.61}
    on_cpu = (
        "(EngineCore pid=7) INFO [kv_cache_utils.py:2328] CPU KV cache size: 125,000 tokens, Maximum concurrency for "
    )
    assert read_facts(f"{on_cpu}1,000 tokens per request: 125.00x")["kv_cache_tokens"] == 125_000
    assert read_facts("nothing of the kind") == {}
    config = "'cudagraph_capture_sizes': [1, 2, 1024], 'max_cudagraph_capture_size': 1024, 'x': 1"
    assert read_facts(config) == {"max_cudagraph_capture_size": 1024}


LOADS = "(EngineCore pid=61) INFO 11-28 09:05:24 [cpu_model_runner.py:68] Starting to load model"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("$ python -m vllm serve\n", ""),
        ("$ python -m vllm serve\nTriton is installed, but not for CPUs.\n", "Triton is installed, but not for CPUs."),
        (f"{LOADS}\n(APIServer pid=60) WARNING 11-28 09:05:25 [system_utils.py:255] Found ulimit of 20000\n", "model"),
        (f"{LOADS}\nTriton is installed, but not for CPUs.\n", "model"),
        (f'{LOADS}\na.py:1: FutureWarning: old\n  wrapper = lookup(vars(value).get("kernel"))\n', "model"),
        (
            f"{LOADS}\n\rLoading shards:  25% Completed | 1/4\rLoading shards:  50% Completed | 2/4",
            "50% Completed | 2/4",
        ),
        (f"{LOADS}\n(Worker pid=61) INFO 11-28 09:05:26 [cpu_worker.py:9] reserved_cpus=[]\n", "model"),
        (f"{LOADS}\n(Worker pid=62) ERROR 11-28 09:05:26 [core.py:9] out of memory\n", "out of memory"),
    ],
    ids=["started", "nothing better", "a warning", "no level", "Python's warning", "a bar", "a variable", "an error"],
)
def test_while_a_server_starts_the_log_is_quoted_where_it_says_what_it_does(log, told):
    assert find_last_words(log).endswith(told) if told else not find_last_words(log)
