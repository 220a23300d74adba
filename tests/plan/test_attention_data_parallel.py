"""vLLM's own data parallelism, for mixtures of experts: one server whose engines share the experts and nothing else."""

from dataclasses import replace

import pytest
import records
from builders import run_config
from test_memory import point

from vbench.campaign.planning.expecting import predict
from vbench.engine.command import build_server_argv, needs_pausing
from vbench.metrics.bounds import find_bounds, read_row
from vbench.plan.memory.estimate import estimate_fit
from vbench.plan.naming import split_name
from vbench.plan.reach.points import NO_ENGINES, make_point
from vbench.plan.reach.predictor import Predictor
from vbench.plan.resources import resources
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import Parallelism, to_plain
from vbench.schema.errors import Refused

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
SPREAD = {"attention_data_parallel_size": None, "enable_expert_parallel": True}


def made(gpus=2, model=EXPERTS, engine=None, **split):
    parts = {"hardware": {"gpus": gpus}, "model": model, "parallelism": SPREAD | split}
    return check_run(run_config(engine={"weights": "dummy"} | (engine or {}), **parts))


def planned(*configs):
    (found,) = plan((config, "vllm 0.32.0") for config in configs)
    return found


@pytest.mark.parametrize(
    ("gpus", "split", "name", "engines"),
    [
        (2, {}, "adp2ep", 2),
        (4, {"tensor_parallel_size": 2}, "tp2adp2ep", 2),
        (4, {"data_parallel_size": 2}, "adp2dp2ep", 4),
        (2, {"enable_expert_parallel": False}, "adp2", 2),
    ],
)
def test_engines_of_one_server_are_named_apart_from_replicas_and_each_schedules_for_itself(gpus, split, name, engines):
    run = made(gpus, **split)
    assert split_name(run.parallelism) == name
    assert run.parallelism.engine_count == engines
    assert planned(run).gpus_per_replica == gpus // (run.parallelism.data_parallel_size or 1)
    assert resources(planned(run)).gpus == gpus


def test_one_server_is_started_with_vllms_own_option():
    argv = build_server_argv(planned(made(4)), "m", "name", 1)
    assert argv[argv.index("--data-parallel-size") + 1] == "4"
    assert argv[argv.index("--tensor-parallel-size") + 1] == "1"
    assert "--enable-expert-parallel" in argv
    copies = made(2, attention_data_parallel_size=1, data_parallel_size=2, enable_expert_parallel=False)
    assert "--data-parallel-size" not in build_server_argv(planned(copies), "m", "name", 1)
    assert [needs_pausing(planned(each)) for each in (made(2), copies)] == [False, True]


def test_without_it_run_keys_are_as_they_were():
    run = run_config(model=EXPERTS)
    [key] = [each.key for each in planned(run).runs]
    facts = to_plain(run.parallelism)
    assert facts["attention_data_parallel_size"] == 1
    [other] = [each.key for each in planned(replace(run, parallelism=Parallelism(attention_data_parallel_size=2))).runs]
    assert key != other


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": {}}, r"attention_data_parallel_size=2: model=tiny has no experts to split.* \(parallelism=dp\)$"),
        ({"gpus": 1}, r"enable_expert_parallel=true: tensor_parallel_size=1 and attention_data_parallel_size=1 leave"),
        ({"tensor_parallel_size": None}, "only one size may be null"),
        ({"attention_data_parallel_size": 4}, r"attention_data_parallel_size=4 uses 4 devices, but hardware=2xh100"),
        (
            {"engine": {"extra_args": ["--data-parallel-size=2"]}},
            r"leave it out and set parallelism\.attention_data_parallel_size, or for whole servers",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(parts, message):
    with pytest.raises(Refused, match=message):
        made(**parts)


def terms(config):
    return {term.name: term.bytes for term in estimate_fit(config).terms}


def test_each_gpu_holds_all_attention_and_its_part_of_the_experts():
    one = point("qwen3_30b_a3b", 1, "h200")
    four = point("qwen3_30b_a3b", 4, "h200")
    spread = replace(four, parallelism=Parallelism(1, attention_data_parallel_size=4, enable_expert_parallel=True))
    alone, apart = terms(one), terms(spread)
    assert apart["weights: experts"] == pytest.approx(alone["weights: experts"] / 4)
    for whole in ("weights: attention, dense feed-forward", "weights: embedding, head"):
        assert apart[whole] == alone[whole]
    assert apart["activations"] > alone["activations"]  # the experts meet the tokens of all engines
    cache = estimate_fit(spread)
    assert cache.kv_bytes_per_token == estimate_fit(one).kv_bytes_per_token  # every rank keeps whole KV heads
    assert cache.kv_cache_tokens > estimate_fit(one).kv_cache_tokens  # of one engine, beside fewer experts


def test_nothing_is_predicted():
    config = point("qwen3_30b_a3b", 2, "h200", max_model_len=2000)
    spread = replace(config, parallelism=Parallelism(1, attention_data_parallel_size=2, enable_expert_parallel=True))
    predictor = Predictor.default()
    assert predict(predictor, config) is not None
    assert predict(predictor, spread) is None
    with pytest.raises(ValueError, match=NO_ENGINES):
        make_point(spread)


def test_max_num_seqs_is_a_limit_of_each_engine():

    made = records.record(gpus=2, engine={"max_num_seqs": 8})
    made.config["parallelism"] |= {"attention_data_parallel_size": 2, "enable_expert_parallel": True}
    queue = {"server_mean_requests_running": 8.0, "server_mean_requests_waiting": 4.0}
    for running, bound in ((15.0, []), (16.0, ["scheduler limit"])):
        made.metrics.update(queue, server_max_requests_running=running)
        assert [each.what for each in find_bounds(read_row(made))] == bound
