"""The help page has each key of the schema, with what a reader needs of it."""

import dataclasses

import pytest
from builders import run_config

from vbench.compose import help as pages
from vbench.compose.choices import groups
from vbench.plan.rules import check_run
from vbench.schema import RunConfig, keys
from vbench.schema.errors import Refused

KEYS = keys(RunConfig)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_says_what_it_means(key):
    assert key.meaning


def test_a_unit_is_given_wherever_the_name_ends_with_one():
    units = {"_ms": "ms", "_s": "s", "_rps": "requests/s", "_mib": "MiB", "_min": "minutes", "_gb_s": "GB/s"}
    for key in KEYS:
        ends = [end for end in units if key.name.endswith(end)]
        if ends:
            assert key.unit == units[max(ends, key=len)], key.name


def test_the_page_lists_every_key_once_with_its_default(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    lines = pages.overview("vbench").splitlines()
    for key in KEYS:
        assert sum(line.split()[:1] == [key.name] for line in lines) == 1, key.name
    (line,) = (line for line in lines if line.split()[:1] == ["workload.num_prompts"])
    said = "requests to send; with duration_s, at most; whole number; 1 or more; null: all rows of"
    assert line.split(maxsplit=1)[1] == said


def test_the_page_names_the_command_as_it_was_called():
    assert "\n  python -m vbench fetch ..." in pages.overview("python -m vbench")
    assert "python -m" not in pages.overview("vbench")


def test_a_group_shows_its_choices_and_its_own_keys_only(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    page = pages.group_page("workload")
    assert "  sharegpt (default)  Random token ids with the published study's 1,280 ShareGPT lengths" in page
    assert "search=max_concurrency)" in page
    assert "  workload.slo.ttft_ms" in page
    assert "  engine." not in page


def test_the_sizes_of_a_gpu_are_one_line_that_describes_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    lines = pages.group_page("hardware").splitlines()
    [line] = [line for line in lines if "8xh100" in line]
    assert line.split(maxsplit=4) == ["1xh100,", "2xh100,", "4xh100,", "8xh100", "NVIDIA H100 SXM 80GB."]
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize("group", groups())
def test_a_group_ends_with_an_example(group):
    examples = pages.group_page(group).partition("\nExamples\n")[2].splitlines()
    assert examples
    for each in examples:
        assert group in each


def test_a_group_that_is_added_says_so_and_a_part_without_choices_has_keys_alone():
    assert pages.group_page("campaign").startswith("Choices (+campaign=CHOICE)")
    assert pages.group_page("launcher").startswith("Keys\n")


def test_a_group_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(Refused, match="--help workloda: no such group; did you mean workload"):
        pages.group_page("workloda")


LEAST = {
    "1 or more": (1, 0),
    "0 or more": (0, -1),
    "above 0": (1e-9, 0),
}  # what is said: the least value, one too small
KIND_OF = {  # keys that only one kind of load takes
    "sessions": "conversations", "session_rate": "conversations", "prefix": "prefix", "conversations": "conversations",
}  # fmt: skip
BOUNDED = [(key, said) for key in KEYS for said in LEAST if key.allowed.startswith(said)]


@pytest.mark.parametrize(("key", "said"), BOUNDED, ids=lambda each: getattr(each, "name", each))
def test_what_the_page_allows_is_what_the_rules_allow(key, said):
    part, *names = key.name.split(".")
    kind = KIND_OF.get(names[0])

    def config(value):
        facts = value
        for name in reversed(names):
            facts = {name: facts}
        return run_config(**{part: facts | ({"lengths": kind} if kind else {})})

    def check(value):
        facts = {"sessions": 1} if kind == "conversations" and names[0] == "conversations" else {}
        run = config(value)
        return check_run(dataclasses.replace(run, workload=dataclasses.replace(run.workload, **facts)))

    least, too_small = LEAST[said]
    assert check(least)
    with pytest.raises(Refused, match=key.name):
        check(too_small)


def test_the_bounded_keys_are_those():
    assert len(BOUNDED) == 17
