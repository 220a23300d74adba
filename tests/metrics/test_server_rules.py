"""The servers' counters of the published runs, on which nobody else sent anything, agree with what was sent."""

from dataclasses import replace

import pytest
from published import walk_published

from vbench.metrics.server_rules import other_requests, token_mismatch


@pytest.mark.slow
def test_no_published_run_shows_requests_of_others_and_one_with_a_second_client_would():
    judged = 0
    for record, sent in walk_published():
        if "server_prompt_tokens" not in record.metrics or not len(sent):
            continue
        told = sent if len(sent.usage_input_tokens) else replace(sent, usage_input_tokens=sent.input_tokens)
        assert other_requests(told, record.metrics) is None, record.name
        assert token_mismatch(told, record.metrics) is None, record.name
        more = record.metrics["server_prompt_tokens"] + 0.02 * sent.input_tokens.sum()
        if not (sent.error != "").any():  # of a load that was ended early not every prompt was counted
            assert other_requests(told, record.metrics | {"server_prompt_tokens": more}), record.name
        judged += 1
    assert judged > 100
