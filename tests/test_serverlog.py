import pytest

from vbench.serverlog import diagnosis, facts

CASES = {
    "oom_load": """
(EngineCore pid=77) ERROR 11-23 10:00:00 [core.py:901] EngineCore failed to start.
(EngineCore pid=77) ERROR 11-23 10:00:00 [core.py:901] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB.
RuntimeError: Engine core initialization failed. See root cause above.
""",
    "oom_kv": """
ValueError: To serve at least one request with the models's max seq len (131072), (16.0 GiB KV cache is needed, which is \
larger than the available KV cache memory (3.1 GiB).
RuntimeError: Engine core initialization failed. See root cause above.
""",
    "port_taken": "OSError: [Errno 98] Address already in use",
    "gpu_lost": "RuntimeError: No CUDA GPUs are available",
    "engine_error": """
(APIServer pid=1) ValueError: Model architectures ['Foo'] are not supported for now.
RuntimeError: Engine core initialization failed. See root cause above.
""",
    "server_died": "INFO 11-23 10:00:00 [loader.py:1] Loading weights",
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_failure_is_known_by_its_telling_line(kind):
    found = diagnosis(CASES[kind], 1)
    assert found.kind == kind
    assert "See root cause" not in found.line
    assert "pid=" not in found.line


def test_a_server_killed_from_outside_says_by_which_signal():
    assert "killed by signal 9" in diagnosis("Loading", -9).line


def test_an_empty_log_is_said_to_be_empty():
    assert "the log is empty" in diagnosis("", 1).line


def test_a_good_start_tells_the_size_of_its_kv_cache_and_how_many_full_contexts_it_holds():
    assert facts("INFO [kv_cache_utils.py:1] GPU KV cache size: 205,184 tokens\n") == {"kv_cache_tokens": 205_184}
    log = "INFO [x.py:1] GPU KV cache size: 2,051,840 tokens, Maximum concurrency for 2,000 tokens per request: 1,025.92x\n"
    assert facts(log) == {"kv_cache_tokens": 2_051_840, "full_context_requests": 1025.92}
    assert facts("nothing of the kind") == {}
