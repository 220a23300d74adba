import published
from builders import run_config

from vbench.plan.forecast.estimate import Basis
from vbench.plan.forecast.published_starts import choose_alike, describe_starts, read_published
from vbench.plan.forecast.starts import estimate_start
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan


def session(**model):
    (made,) = plan([(check_run(run_config(hardware={"gpus": 1}, model=model)), "vllm 0.32.0")])
    return made


def test_what_is_shipped_is_what_the_published_records_say():
    assert list(read_published()) == describe_starts(published.read_published())


def test_starts_of_a_model_of_about_that_size_are_assumed_and_said_to_be_of_other_hosts():
    large = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256}
    found = estimate_start(session(**large), [])
    assert found.basis is Basis.assumed
    assert found.source.startswith("no record of this host: ")
    assert "published starts of models without experts of about its size, on one GPU, vllm 0.26.0" in found.source
    assert found.source.endswith("with random weights")
    kept = [each.start_s for each in read_published() if not each.experts and each.gpus == 1 and each.weights_gib < 30]
    assert found.low <= min(kept) <= found.value <= max(kept) <= found.high


def test_a_model_with_experts_is_compared_with_its_like_and_a_size_nobody_published_with_others():
    experts = {"num_experts": 8, "num_experts_per_tok": 2}
    starts, how = choose_alike(session(**experts).model, 1)
    assert {each.experts for each in starts} == {True}
    assert how == "of models with experts of other sizes"
