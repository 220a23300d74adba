#!/usr/bin/env bash
# sglang 0.5.23's bench_serving and vLLM 0.32.0's `vllm bench serve` share the option --random-range-ratio: with 0.5 and
# lengths of 1,000 the one means 500 to 1,000, the other 500 to 1,500.
#
# Guess:  sglang's client grew out of vLLM's, so one option means one thing.
# Seen:   to sglang it is the least share of the length, so that 0.0 spreads over all lengths and 1.0 is exact; to vLLM it
#         is the deviation to both sides, so that 0.0 is exact. Output of 2026-11-27, Python 3.11:
#             ratio 0.5: sglang 500 to 1000, mean 750; vLLM 500 to 1500, mean 1000
#             ratio 0.0: sglang 1 to 1000, mean 500; vLLM 1000 to 1000, mean 1000
# Matters: the same command line gives one engine half the tokens of the other.
#
# vLLM is the one that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0
install venv --no-deps sglang==0.5.23

cat > "$tmp/lengths.py" <<'PY'
import sys
import numpy as np

def vllm_lengths(ratio):
    from vllm.benchmarks.datasets.utils import get_sampling_params

    class Tokenizer:  # as far as the lengths need one
        vocab_size = 1000

        def __len__(self):
            return self.vocab_size

        def num_special_tokens_to_add(self):
            return 0

    return get_sampling_params(np.random.default_rng(0), 20_000, ratio, 1000, 1000, Tokenizer())[0]

def sglang_lengths(ratio):  # one function of the package, whose other modules want a GPU's libraries
    source = open(f"{sys.argv[1]}/sglang/benchmark/datasets/common.py").read()
    start = source.index("def compute_random_lens")
    names = {"np": np, "List": list}
    exec(source[start : source.index("\n\n\n", start)], names)
    np.random.seed(0)
    return names["compute_random_lens"](1000, ratio, 20_000)

around = lambda value: round(value / 50) * 50
said = lambda lengths: f"{min(lengths)} to {max(lengths)}, mean {around(np.mean(lengths))}"
for ratio in (0.5, 0.0):
    print(f"ratio {ratio}: sglang {said(sglang_lengths(ratio))}; vLLM {said(vllm_lengths(ratio))}")
PY
packages=$("$tmp/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
seen=$(cd "$tmp" && python3 lengths.py "$packages" 2>/dev/null | grep '^ratio')
holds "$seen" "ratio 0.5: sglang 500 to 1000, mean 750; vLLM 500 to 1500, mean 1000
ratio 0.0: sglang 1 to 1000, mean 500; vLLM 1000 to 1000, mean 1000"
