"""How people read the load in a run's name."""

import pytest

from vbench.plan.naming import number_repeats, say_load, say_name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m · cpu · tp1 · n320", "320 prompts"),
        ("m · cpu · tp1 · n1", "1 prompt"),
        ("m · cpu · tp1 · n320 r8 c64 s1", "320 prompts, 8 req/s, 64 at once, seed 1"),
        ("m · cpu · tp1 · n836 r0.5 c12 s1001", "836 prompts, 0.5 req/s, 12 at once, seed 1001"),
        ("m · cpu · tp1 · n10 r1-20 60s w5 trace", "10 prompts, 1 to 20 req/s, for 60 s, after 5 s of warm-up, trace"),
        ("m · cpu · tp1 · n10 conversations u20 sticky", "10 prompts, conversations, 20 sessions at once, sticky"),
        ("m · cpu · tp1 · n10 agents u1e-05-a-second", "10 prompts, agents, 1e-05 sessions/s"),
        ("m · cpu · tp1 · slo max_concurrency", "most at once within the SLO"),
        ("m · cpu · tp1 · prefix c8 slo request_rate s2", "prefix, 8 at once, most req/s within the SLO, seed 2"),
        ("m · cpu · tp1 · start", "start"),
        ("m · cpu · tp1 · 0.5 requests/s, probe 1", "0.5 requests/s, probe 1"),
    ],
)
def test_a_load_is_said_in_words(name, words):
    assert say_load(name) == words


def test_a_name_keeps_its_system():
    assert say_name("m · 2xh100 · tp2 · max_model_len=auto · n4 c2") == (
        "m · 2xh100 · tp2 · max_model_len=auto · 4 prompts, 2 at once"
    )
    assert say_name("n4, a name of another tool") == "n4, a name of another tool"


def test_repeats_are_counted_and_a_seed_that_was_asked_for_is_a_seed():
    names = ["m · cpu · tp1 · n4", "m · cpu · tp1 · n4 s1", "m · cpu · tp1 · n8 s7", "m · cpu · tp1 · n16 s1"]
    repeats = number_repeats(names)
    assert [say_load(name, repeats) for name in names] == [
        "4 prompts, repeat 1",
        "4 prompts, repeat 2",
        "8 prompts, seed 7",
        "16 prompts, seed 1",
    ]
    assert say_name(names[1], repeats) == "m · cpu · tp1 · 4 prompts, repeat 2"
    assert number_repeats(["m · cpu · tp1 · n4", "m · cpu · tp1 · n4 s7"]) == {}
