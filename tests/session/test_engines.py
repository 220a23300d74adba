"""A server of two engines, as vLLM's data parallelism makes it: what is read of it, and how it is warmed up."""

from dataclasses import replace

from test_session import executed, session

from vbench.plan.sessions import plan
from vbench.session import rehearsal

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2}


def of_two_engines(made):
    """The session with two engines; on a CPU, where no config may ask for them."""
    configs = [run.config for run in made.runs]
    split = replace(made.parallelism, attention_data_parallel_size=2, enable_expert_parallel=True)
    (changed,) = plan((replace(config, parallelism=split), "fake") for config in configs)
    return changed


def test_a_server_of_two_engines_tells_the_cache_of_one_and_the_requests_of_both(tmp_path):
    made = of_two_engines(
        session("--kv-cache-tokens", "40000", loads=(12,), model=EXPERTS, max_num_seqs=4, max_model_len=2000)
    )
    record = executed(made, tmp_path)[12]
    log = (tmp_path / "server.log").read_text()
    assert log.count("KV cache size: 40,000 tokens") == 2
    assert record.server["engines"] == 2
    assert record.server["kv_cache_tokens"] == 40_000
    assert record.server["full_context_requests"] == 20.0
    assert record.metrics["server_prompt_tokens"] == record.metrics["total_input_tokens"]  # of both engines
    assert not {"other_requests", "cache_mismatch"} & {each.code for each in record.invalid}
    assert "adp2ep" in record.name


def test_each_engine_is_warmed_up_with_as_many_requests_as_a_server_of_one(tmp_path, monkeypatch):
    shapes, send = [], rehearsal._send_until_ready

    def spy(context, servers, shape, done):
        shapes.append((shape.at_once, len(shape.input_len)))
        return send(context, servers, shape, done)

    monkeypatch.setattr(rehearsal, "_send_until_ready", spy)
    executed(of_two_engines(session(loads=(2,), model=EXPERTS)), tmp_path)
    assert shapes == [(2 * count, 2 * count) for count, _, _ in rehearsal.BURSTS]


def test_step_sizes_are_not_walked_where_experts_meet_the_tokens_of_two_engines_and_the_record_says_so(tmp_path):
    flags = ("--compile-steps", "--compile-s", "0.01", "--captured", "256", "--jit-monitor-verbose")
    made = session(*flags, loads=(10,), model=EXPERTS, workload={"input_len": 50}, max_num_batched_tokens=512)
    record = executed(of_two_engines(made), tmp_path)[10]
    assert "rehearsal_steps" not in record.server
    assert rehearsal.NOT_WALKED in record.server["still_compiling"]
