#!/usr/bin/env bash
# vLLM 0.32.0: `vllm bench serve --dataset-name prefix_repetition --num-prompts 25 --prefix-repetition-num-prefixes 10`
# sends 20 requests.
#
# Guess:  25 requests over ten prefixes, two or three to each.
# Seen:   each prefix gets 25 // 10 = 2 requests, and the other five are not sent. Output of 2026-11-27, Python 3.11:
#             25 prompts asked of 10 prefixes: 20 made, of 10 prefixes
# Matters: the result file keeps num_prompts 25 beside completed 20 and failed 0: it looks as if five were lost.
#
# Runs with the vLLM that `python3` imports (`make setup`, or `make ENGINE=cpu setup`): it is no small package.
set -euo pipefail
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
need_vllm 0.32.0

seen=$(cd "$tmp" && python3 - 2>/dev/null <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm.benchmarks.datasets import PrefixRepetitionRandomDataset

words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(2000)}, unk_token="w0"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0")
made = PrefixRepetitionRandomDataset(random_seed=0).sample(
    tokenizer, num_requests=25, prefix_len=16, suffix_len=16, num_prefixes=10, output_len=8
)
prefixes = {tuple(each.prompt.split()[:16]) for each in made}
print(f"25 prompts asked of 10 prefixes: {len(made)} made, of {len(prefixes)} prefixes")
PY
)
holds "$seen" "25 prompts asked of 10 prefixes: 20 made, of 10 prefixes"
