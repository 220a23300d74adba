"""Every measuring command that README and docs/ print can be composed and passes the rules."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from vbench import compose as ours
from vbench.__main__ import COMMANDS
from vbench.analysis.options import parse_options as analysis_options
from vbench.compose.sweeper import GridSweeper
from vbench.ingest import parse_options as ingest_options
from vbench.plan.program import starts_vllm
from vbench.plan.rules import check_run

pytestmark = pytest.mark.usefixtures("hydra")
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CALL = re.compile(r"^(?:    |)(?:[A-Z_]+=\S+ )*(?:python -m )?vbench (?P<words>[^|\n]+)$", re.MULTILINE)
CODE = re.compile(r"^```sh\n(.*?)^```$|((?:^    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The words of the page's commands."""
    code = "\n".join("".join(parts) for parts in CODE.findall(page.read_text()))
    return [re.split(r"\s+#|\s{3,}", each["words"])[0].strip() for each in CALL.finditer(code)]


def measuring_commands(page: Path) -> list[str]:
    """Those that measure; those with an ellipsis stand for something to fill in."""
    found = commands(page)
    return [
        words
        for words in found
        if words.split()[0] not in {*COMMANDS, "new"}
        and "model=mine" not in words
        and "…" not in words
        and not words.startswith("--")
        and "{{" not in words
    ]


COMMANDS_OF_PAGES = [(page.name, words) for page in PAGES for words in dict.fromkeys(measuring_commands(page))]
KUBERNETES = yaml.safe_load((ROOT / "docs" / "container" / "job.yaml").read_text())
(CONTAINER,) = KUBERNETES["spec"]["template"]["spec"]["containers"]
COMMANDS_OF_PAGES.append(("job.yaml", shlex.join(CONTAINER["command"][1:])))


ENGINES = [
    word
    for page in PAGES
    for word in re.findall(r"^    ('?engine\.command=.*?)(?:   .*)?$", page.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("word", ENGINES)
def test_a_documented_way_to_start_the_server_is_taken_by_a_shell_and_by_hydra(word):
    (given,) = shlex.split(word)
    (override,) = OverridesParser.create().parse_overrides([given])
    assert isinstance(override.value(), list)
    assert starts_vllm(override.value())


@pytest.mark.parametrize(("page", "words"), COMMANDS_OF_PAGES)
def test_a_documented_command_composes(page, words):
    given = [word for word in shlex.split(words) if word not in ("-m", "--cfg", "job")]
    if not any(word.startswith(("hardware=", "+campaign=", "engine=openai")) for word in given):
        given.append("hardware=1xh100")
    loader = GlobalHydra.instance().config_loader()
    launcher = [word for word in given if word.startswith("hydra/")]
    master = loader.load_configuration("config", launcher, RunMode.MULTIRUN)
    overrides = OverridesParser.create(loader).parse_overrides([word for word in given if word not in launcher])
    (batch,) = GridSweeper.split_arguments(overrides, None)
    configs = list(ours.grid(loader, master, batch))
    assert configs
    assert [check_run(config).model.name for config in configs] == [config.model.name for config in configs]


@pytest.mark.parametrize(
    ("page", "words"),
    [(page.name, words) for page in PAGES for words in commands(page) if words.startswith(("analyze", "ingest"))],
)
def test_the_options_of_a_documented_command_exist(page, words):
    command, *given = shlex.split(words)
    parse = analysis_options if command == "analyze" else ingest_options
    parse([word for word in given if "…" not in word])


def test_the_pages_have_commands_to_look_at():
    assert len(COMMANDS_OF_PAGES) > 12
    assert {page for page, _ in COMMANDS_OF_PAGES} >= {"README.md", "first-hour.md", "gpu-host.md", "slurm.md"}
