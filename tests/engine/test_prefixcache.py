from dataclasses import replace

import pytest
from builders import run_config

from vbench.engine.prefixcache import read_facts

CONFIG = run_config()


def page(engines=1, **labels):
    told = {"block_size": 16, "num_gpu_blocks": 300, "enable_prefix_caching": True, "sliding_window": None} | labels
    text = ",".join(f'{key}="{value}"' for key, value in told.items())
    return "".join(f'vllm:cache_config_info{{{text},engine="{engine}"}} 1.0\n' for engine in range(engines))


def facts(*pages, model=CONFIG.model, **engine):
    return read_facts(pages, model, replace(CONFIG.engine, **engine))


def test_each_replica_tells_the_blocks_of_its_cache():
    told = {"prefix_caching": True, "cache_block_size": 16}
    assert facts(page(), page(num_gpu_blocks=200)) == told | {"cache_blocks": [300, 200]}


@pytest.mark.parametrize(
    "case",
    [
        {"pages": [page(engines=2)]},  # nobody tells which of them got a request
        {"pages": [page(sliding_window=4096)]},
        {"pages": [page(mamba_block_size=16)]},
        {"pages": [page(kv_offloading_size=4.0)]},
        {"pages": [page(num_gpu_blocks=None)]},
        {"pages": [page()], "model": replace(CONFIG.model, sliding_window=4096)},
        {"pages": [page()], "extra_args": ["--speculative-config", "{}"]},
        {"pages": [page()], "extra_args": ["--kv-transfer-config={}"]},
    ],
)
def test_blocks_whose_rules_are_not_modelled_are_not_told(case):
    found = facts(*case.pop("pages"), **case)
    assert found == {"prefix_caching": True, "cache_block_size": 16}


def test_a_server_without_a_cache_or_without_such_a_page_tells_so():
    assert facts(page(enable_prefix_caching=False)) == {"prefix_caching": False, "cache_block_size": 16}
    assert facts(page(), "") == {}


@pytest.mark.parametrize("size", ["²", "x", "-16", "9" * 5000])
def test_a_size_that_is_no_number_is_not_told(size):
    assert facts(page(block_size=size)) == {"prefix_caching": True}
