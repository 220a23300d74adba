"""How people read the load in a run's name."""

import pytest

from vbench.plan.naming import say_load


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m · cpu · tp1 · n320", "320 prompts"),
        ("m · cpu · tp1 · n320 r8 c64 s1", "320 prompts, 8 req/s, 64 at once, seed 1"),
        ("m · cpu · tp1 · n836 r0.5 c12 s1001", "836 prompts, 0.5 req/s, 12 at once, seed 1001"),
        ("m · cpu · tp1 · n10 r1-20 60s w5 trace", "10 prompts, 1-20 req/s 60s after 5 s trace"),
        ("m · cpu · tp1 · slo max_concurrency", "slo max_concurrency"),
        ("m · cpu · tp1 · start", "start"),
    ],
)
def test_a_load_is_said_in_words(name, words):
    assert say_load(name) == words
