#!/usr/bin/env bash
# transformers 5.24.0: len(tokenizer.apply_chat_template(messages)) is 2, however long the messages are.
#
# Guess:  the number of prompt tokens, as in transformers 4, which returned the list of their ids.
# Seen:   a BatchEncoding, whose length is the number of its keys. Output of 2026-11-27, Python 3.11:
#             transformers 4.57.1: list of length 8
#             transformers 5.24.0: BatchEncoding of length 2, its input_ids of length 8
# Matters: a benchmark that measures its prompts so, or budgets max_tokens by it, counts every prompt as two tokens.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install old transformers==4.57.1 jinja2==3.1.6
install new transformers==5.24.0 jinja2==3.1.6

cat > "$tmp/count.py" <<'PY'
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

words = {word: place for place, word in enumerate("? user one two three four five six seven".split())}
model = Tokenizer(models.WordLevel(words, unk_token="?"))
model.pre_tokenizer = pre_tokenizers.Whitespace()
template = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }}{% endfor %}"
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=model, unk_token="?", chat_template=template)
made = tokenizer.apply_chat_template([{"role": "user", "content": "one two three four five six seven"}])
ids = "" if isinstance(made, list) else f", its input_ids of length {len(made['input_ids'])}"
print(f"transformers {transformers.__version__}: {type(made).__name__} of length {len(made)}{ids}")
PY
seen=$("$tmp/old/bin/python" "$tmp/count.py" 2>/dev/null; "$tmp/new/bin/python" "$tmp/count.py" 2>/dev/null)
holds "$seen" "transformers 4.57.1: list of length 8
transformers 5.24.0: BatchEncoding of length 2, its input_ids of length 8"
