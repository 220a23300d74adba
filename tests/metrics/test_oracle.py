"""Our numbers against those of vLLM's own benchmark, on the same replies: a shared key means the same."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import requests

from vbench.metrics.definitions import metrics
from vbench.metrics.goodput import goodput
from vbench.metrics.prefix_cache import Timeline, chain_blocks, infinite_hits, simulate
from vbench.metrics.prefix_cache.lru import ADMIT, FREE, events
from vbench.plan.extra_args import API_SERVER_COUNT, KEYS, OURS, names_argument
from vbench.schema import RampUp
from vbench.workload.arrivals import arrivals, ramp

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vLLM is not installed: make setup"),
]
PROGRAM = Path(__file__).parents[1] / "vllm_facts.py"
SLO = {"ttft_ms": 400.0, "tpot_ms": 60.0, "e2el_ms": 2000.0}
SHAPES = ("mean", "median", "std", "p90", "p95", "p99")
SHARED = {
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
    "output_throughput", "total_token_throughput", "request_goodput",
    *(f"{shape}_{name}_ms" for shape in SHAPES for name in ("ttft", "tpot", "itl", "e2el")),
}  # fmt: skip
CACHES = {"decoding": (90, [1, 60]), "waiting": (55, [1, 1])}  # blocks of 8 tokens, and the lengths of replies
DRAWN = {"seed": 7, "n": 40, "request_rate": 5.0, "burstiness": 0.6}


def load(tokens_a_chunk, seed=0):
    """300 requests over 30 s: replies of 1 to 40 chunks, each twentieth broken off."""
    rng = np.random.default_rng(seed)
    sent = np.sort(rng.uniform(0, 30, 300))
    gaps = [np.cumsum([rng.uniform(0.05, 0.6), *rng.gamma(2, 0.02, rng.integers(0, 40))]) for _ in sent]
    replies = [
        [(start + at, 1 if index == 0 else tokens_a_chunk) for index, at in enumerate(reply)]
        for start, reply in zip(sent, gaps, strict=True)
    ]
    errors = np.array(["reset" if index % 20 == 3 else "" for index in range(300)])
    return requests(*replies, sent=list(sent), error=errors, input_tokens=rng.integers(1, 500, 300))


def as_vllm(made):
    """The same replies as the benchmark's client would report them."""
    times = np.split(made.chunk_times, made.offsets[1:-1])
    return [
        {
            "success": not made.error[index],
            "start_time": float(made.sent[index]),
            "ttft": float(reply[0] - made.sent[index]),
            "itl": np.diff(reply).tolist(),
            "latency": float(reply[-1] - made.sent[index]),
            "output_tokens": int(made.output_tokens[index]),
            "prompt_len": int(made.input_tokens[index]),
            "error": str(made.error[index]),
        }
        for index, reply in enumerate(times)
    ]


def ours(made):
    return metrics(made) | goodput(made, SLO)


def cached_load(gpu_blocks, replies):
    """300 turns of 8 conversations in one cache, three or so at once: prompts, replies, blocks, times."""
    rng = np.random.default_rng(gpu_blocks)
    contexts = [rng.integers(256, 999, rng.integers(8, 30)) for _ in range(8)]
    prompts, answers, idle = [], [], list(range(len(contexts)))
    for _ in range(300):
        which = idle.pop(rng.integers(len(contexts) - 4))  # the last four may still be answered
        idle.append(which)
        prompts.append(np.concatenate([contexts[which], rng.integers(256, 999, rng.integers(0, 30))]))
        answers.append(rng.integers(256, 999, rng.integers(replies[0], replies[1] + 1)))
        grown = np.concatenate([prompts[-1], answers[-1]])
        contexts[which] = grown if len(grown) < 160 else grown[: rng.integers(8, 30)]
    at = np.arange(300.0)
    content = chain_blocks(prompts, answers, 8, np.array([len(each) for each in answers]))
    return prompts, answers, content, Timeline(at, at + 0.5, at + rng.uniform(2.9, 3.1, 300), np.arange(300))


def as_vllm_cache(gpu_blocks, replies):
    """The same load as events of vLLM's KV cache manager."""
    prompts, answers, content, times = cached_load(gpu_blocks, replies)
    happens, blocks = [], -(-content.prompt_tokens // 8)
    for _, kind, request in events(content, times, times.order):
        if kind == ADMIT:
            happens.append([request, len(prompts[request])])
        elif kind == FREE:
            if answers[request][1:].size:
                happens.append([request, int(content.computed_tokens[request])])
            happens.append([request, 0])
        else:
            happens.append([request, int(blocks[request]) * 8 + 1])
            blocks[request] += 1
    tokens = {"prompts": [each.tolist() for each in prompts], "replies": [each.tolist() for each in answers]}
    return {"block_size": 8, "gpu_blocks": gpu_blocks, "events": happens, **tokens}


@pytest.fixture(scope="module")
def vllm():
    """What vLLM makes of both loads, of some arrivals, of cached prompts, and of its own arguments."""
    runs = {
        name: {
            "replies": as_vllm(made),
            "duration": ours(made)["duration"],
            "slo": {"ttft": 400, "tpot": 60, "e2el": 2000},
        }
        for name, made in {"single": load(1), "merged": load(4)}.items()
    }
    ramped = {"ramp_up_strategy": "linear", "ramp_up_start_rps": 2, "ramp_up_end_rps": 8}
    asked = {"runs": runs, "arrivals": {"drawn": DRAWN, "ramp": DRAWN | ramped}}
    asked["caches"] = {name: as_vllm_cache(*case) for name, case in CACHES.items()}
    ended = subprocess.run(
        [sys.executable, PROGRAM], input=json.dumps(asked), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_every_key_that_both_have_agrees_where_a_chunk_is_a_token(vllm):
    mine, theirs = ours(load(1)), vllm["metrics"]["single"]
    assert set(mine) & set(theirs) == SHARED
    assert {key: mine[key] for key in SHARED} == pytest.approx({key: theirs[key] for key in SHARED}, rel=1e-6)
    assert 0 < mine["slo_met"] < mine["completed"]  # so that agreement on goodput says something


def test_where_a_chunk_brings_several_tokens_their_itl_is_our_chunk_gap_and_all_else_agrees(vllm):
    mine, theirs = ours(load(4)), vllm["metrics"]["merged"]
    same = sorted(key for key in SHARED if "_itl_" not in key)
    assert [mine[key] for key in same] == pytest.approx([theirs[key] for key in same], rel=1e-6)
    for shape in SHAPES:
        assert mine[f"{shape}_chunk_gap_ms"] == pytest.approx(theirs[f"{shape}_itl_ms"], rel=1e-6)
    assert mine["mean_itl_ms"] == pytest.approx(theirs["mean_itl_ms"] / 4, rel=1e-6)


def test_their_count_of_concurrent_requests_is_of_whole_seconds_and_ours_has_a_key_of_its_own(vllm):
    assert ours(load(1))["peak_concurrent_requests"] < vllm["metrics"]["single"]["max_concurrent_requests"]


def test_arrivals_are_theirs_but_for_the_wait_before_the_first(vllm):
    theirs = np.array(vllm["arrivals"]["drawn"])
    mine = arrivals(40, 5.0, 0.6, np.random.RandomState(7))
    assert theirs[-1] == pytest.approx(40 / 5.0)
    gaps = np.diff(theirs)
    assert np.diff(mine) == pytest.approx(gaps * (39 / 5.0 / gaps.sum()))


def test_arrivals_of_a_ramp_are_theirs_but_for_the_wait_before_the_first(vllm):
    theirs = np.array(vllm["arrivals"]["ramp"])
    mine = arrivals(40, ramp(40, RampUp.linear, 2, 8), 0.6, np.random.RandomState(7))
    assert mine == pytest.approx(theirs - theirs[0])


def test_the_arguments_that_repeat_a_key_are_refused_by_all_the_names_vllm_has_for_them_and_no_others_are(vllm):
    listed = (*KEYS, *((name,) for name in OURS), API_SERVER_COUNT)
    known = {name for names in vllm["options"].values() for name in names}
    of_later = {name for names in listed for name in names if name.startswith("--disable-")} - known  # from 0.33 on
    for names in listed:
        dest = names[0].removeprefix("--").replace("-", "_")
        assert set(vllm["options"][dest]) == set(names) - of_later
    ours = {name for names in listed for name in names}
    for name in known:
        assert any(names_argument(name, names) for names in listed) == (name in ours), name


@pytest.mark.parametrize("name", CACHES)
def test_the_simulated_prefix_cache_hits_what_the_one_of_vllm_hits(vllm, name):
    gpu_blocks, replies = CACHES[name]
    *_, content, times = cached_load(gpu_blocks, replies)
    found = simulate(content, times, [gpu_blocks])
    assert found.tolist() == vllm["hits"][name]
    implied, most = infinite_hits(content, times).sum(), content.prompt_tokens.sum()
    assert 0.05 * most < found.sum() < 0.8 * implied  # so that agreement says something
    assert simulate(content, times, [100_000]).sum() == implied
